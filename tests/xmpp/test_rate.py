"""How fast a client may send, on paper and over a socket."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.xmpp.echo import EchoServer
from tests.xmpp.rawclient import RawClient
from xmpp.rate import Allowance
from xmpp.settings import XmppSettings


def test_a_burst_is_free_and_what_is_beyond_it_waits() -> None:
    allowance = Allowance(100, 10, 0.0)
    assert allowance.spend(1000, 0.0) == 0
    assert allowance.spend(50, 0.0) == pytest.approx(0.5)
    assert allowance.spend(50, 0.5) == pytest.approx(0.5)


def test_time_gives_back_as_much_as_a_burst_and_no_more() -> None:
    allowance = Allowance(100, 10, 0.0)
    assert allowance.spend(1000, 0.0) == 0
    assert allowance.spend(1000, 1e6) == 0
    assert allowance.spend(1, 1e6) > 0


async def test_who_sends_too_fast_is_read_slowly_and_loses_nothing(tmp_path: Path) -> None:
    server = EchoServer(tmp_path, settings=XmppSettings(max_rate=20_000, rate_burst=1))
    async with server, RawClient(server.where(direct=True), direct=True) as client:
        await client.log_in()
        started = time.monotonic()
        for number in range(5):  # 50 kB, of which 20 kB may come at once
            client.send(b"<message id='%d'><body>%s</body></message>" % (number, b"x" * 10_000))
            assert b"id='%d'" % number in await client.until(b"</message>")
        assert time.monotonic() - started > 0.9
    assert server.metrics.counts["xmpp_streams_slowed_total"] >= 1


async def test_a_stanza_counts_for_more_than_its_bytes(tmp_path: Path) -> None:
    server = EchoServer(tmp_path, settings=XmppSettings(max_rate=20_000, rate_burst=1))
    async with server, RawClient(server.where(direct=True), direct=True) as client:
        await client.log_in()
        started = time.monotonic()
        for number in range(80):  # 2 kB, and 40 kB for their number
            client.send(b"<message id='%02d'/>" % number)
            assert b"id='%02d'" % number in await client.until(b"/>")
        assert time.monotonic() - started > 0.9
    assert server.metrics.counts["xmpp_streams_slowed_total"] >= 1


async def test_strangers_are_read_more_slowly(tmp_path: Path) -> None:
    server = EchoServer(tmp_path, settings=XmppSettings(max_rate_before_login=2000, rate_burst=1))
    async with server, RawClient(server.where(direct=True), direct=True) as client:
        started = time.monotonic()
        await client.features()
        for _ in range(2):
            attempt = b"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='X'/>" + b" " * 2000
            await client.ask(attempt, b"</failure>")
        assert time.monotonic() - started > 0.4
