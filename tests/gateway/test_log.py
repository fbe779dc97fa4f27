"""`gateway.log`: one line an event, and no secret in it."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from gateway.log import LogFormat, configure, is_secret


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


def test_text_line_is_key_value_with_node_and_event() -> None:
    stream = io.StringIO()
    configure("info", LogFormat.TEXT, node="sip-1", stream=stream)
    structlog.get_logger().info("subscription_refused", watcher="bob@x", reason="denied by owner")
    line = stream.getvalue()
    assert line.count("\n") == 1
    assert "level=info node=sip-1 event=subscription_refused" in line
    assert 'watcher=bob@x reason="denied by owner"' in line


def test_json_line_is_one_object() -> None:
    stream = io.StringIO()
    configure("info", LogFormat.JSON, node="xmpp-1", stream=stream)
    structlog.get_logger().warning("bus_lost", error="no answer")
    found = json.loads(stream.getvalue())
    assert (found["event"], found["level"], found["node"], found["error"]) == (
        "bus_lost",
        "warning",
        "xmpp-1",
        "no answer",
    )


@pytest.mark.parametrize("log_format", list(LogFormat))
@pytest.mark.parametrize(
    "name",
    ["password", "old_password", "Authorization", "Proxy-Authorization", "ha1", "admin_token", "secret"],
)
def test_secret_fields_are_stars_at_every_depth(name: str, log_format: LogFormat) -> None:
    stream = io.StringIO()
    configure("debug", log_format, stream=stream)
    structlog.get_logger().info("x", **{name: "Opensesame"}, headers={name: "Opensesame", "kept": "visible"})
    assert "Opensesame" not in stream.getvalue()
    assert "visible" in stream.getvalue()


def test_ordinary_fields_are_not_secret() -> None:
    assert not any(
        is_secret(name) for name in ("watcher", "trace", "address", "reason", "node", "domain", "hash")
    )


def test_lines_below_the_level_are_left_out() -> None:
    stream = io.StringIO()
    configure("warning", LogFormat.TEXT, stream=stream)
    structlog.get_logger().info("joined")
    assert stream.getvalue() == ""


def test_libraries_that_use_the_standard_library_write_the_same_format() -> None:
    stream = io.StringIO()
    configure("info", LogFormat.JSON, node="admin-1", stream=stream)
    logging.getLogger("uvicorn.error").error("it broke")
    found = json.loads(stream.getvalue())
    assert (found["event"], found["level"], found["node"]) == ("it broke", "error", "admin-1")
