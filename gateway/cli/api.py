"""The inspection commands' way to the running gateway: the admin role's HTTP API."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from gateway.admin.contact import Contact, contact_file, read_contact
from gateway.cli.app import fail
from gateway.config import Settings
from gateway.exits import Exit


def get(settings: Settings, path: str, **query: str) -> Any:
    """The JSON a resource answers. Ends the command when there is none."""
    with _client(settings) as client:
        response = client.get(path, params={k: v for k, v in query.items() if v})
        return _checked(response).json()


def follow(settings: Settings, path: str, **query: str) -> Iterator[Any]:
    """Server-sent events' data, until the gateway or the user ends it."""
    with (
        _client(settings) as client,
        client.stream("GET", path, params={k: v for k, v in query.items() if v}, timeout=None) as stream,
    ):
        if stream.status_code != httpx.codes.OK:
            stream.read()
            _checked(stream)
        for line in stream.iter_lines():
            if line.startswith("data: "):
                yield json.loads(line[6:])


def is_running(settings: Settings) -> bool:
    """The admin role of this state directory answers."""
    try:
        contact = read_contact(settings.state_dir)
        return (
            contact is not None and httpx.get(f"{contact.url}/health", timeout=3, trust_env=False).is_success
        )
    except (httpx.HTTPError, PermissionError):
        return False


def _checked(response: httpx.Response) -> httpx.Response:
    if not response.is_success:
        try:
            text = str(response.json()["error"])
        except (ValueError, KeyError, TypeError):
            text = f"the admin API answered {response.status_code} {response.reason_phrase}"
        down = response.status_code == httpx.codes.SERVICE_UNAVAILABLE
        fail(text, Exit.NOT_RUNNING if down else Exit.FAILED)
    return response


@contextmanager
def _client(settings: Settings) -> Iterator[httpx.Client]:
    contact = _contact(settings)
    try:
        with httpx.Client(
            base_url=contact.url,
            headers={"Authorization": f"Bearer {contact.token}"},
            timeout=10,
            trust_env=False,
        ) as client:
            yield client
    except httpx.ReadTimeout:
        fail(f"the admin API at {contact.url} does not answer in time", Exit.NOT_RUNNING)
    except httpx.TransportError:
        fail(
            f"Tandem is not running: nothing answers at {contact.url}. Start it with `tandem run`.",
            Exit.NOT_RUNNING,
        )


def _contact(settings: Settings) -> Contact:
    try:
        contact = read_contact(settings.state_dir)
    except PermissionError:
        fail(
            f"{contact_file(settings.state_dir)} may be read by the user who runs Tandem only",
            Exit.NOT_RUNNING,
        )
    if contact is None:
        fail(
            f"Tandem has not run here: there is no {contact_file(settings.state_dir)}. "
            "Start it with `tandem run`, or name its state directory with TANDEM_STATE_DIR "
            "or its configuration with --config.",
            Exit.NOT_RUNNING,
        )
    return contact
