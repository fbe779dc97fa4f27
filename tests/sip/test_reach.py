"""Requests that follow a route: DNS, failover, connections of our own."""

from __future__ import annotations

import asyncio
import secrets
import ssl
import threading
from pathlib import Path
from typing import Any

import pytest

from presence.address import Address
from sip.edge.dns import Resolver
from sip.uri import parse_uri
from tests.sip.house import ALICE, BOB, PASSWORD, open_house
from tests.support.authority import Authority
from tests.support.inbox import PATIENCE
from tests.support.names import serve_names
from tests.support.ports import free_port
from tests.support.sipclient import Phone
from tests.support.siphop import next_hop
from tests.support.sipwire import SipMessage
from tests.support.waiting import until

TRUSTED: dict[str, Any] = {"trusted_peers": ("127.0.0.1",)}


async def register_through(phone: Phone, path: str, *, who: Address = BOB) -> SipMessage:
    """As a proxy that asserts who registers, and wants to be passed again."""
    asserted: dict[str, Any] = {"P-Asserted-Identity": f"<sip:{who}>"}
    return await phone.register(Path=path, **asserted)


async def test_a_message_goes_over_the_path_and_not_down_the_proxys_connection(tmp_path: Path) -> None:
    async with (
        open_house(tmp_path, **TRUSTED) as house,
        house.phone(BOB, "tcp") as proxy,
        next_hop("tcp") as hop,
    ):
        path = f"<sip:127.0.0.1:{hop.port};transport=tcp;lr>"
        registered = await register_through(proxy, path)
        assert registered.status == 200
        assert registered["Path"] == path
        proxy.close()
        await house.say(ALICE, BOB, "over the path")
        message = await hop.requests.take("the message", lambda r: r.body == b"over the path")
        assert message["Route"] == path
        assert message.uri == proxy_contact(registered)
        assert (await house.seen(BOB)).online


def proxy_contact(registered: SipMessage) -> str:
    return registered["Contact"].partition(">")[0].strip("<")


async def test_a_proxy_that_closed_its_connection_is_connected_to_again(tmp_path: Path) -> None:
    async with (
        open_house(tmp_path, **TRUSTED) as house,
        house.phone(BOB, "tcp") as proxy,
        next_hop("tcp") as hop,
    ):
        await register_through(proxy, f"<sip:127.0.0.1:{hop.port};transport=tcp;lr>")
        await house.say(ALICE, BOB, "one")
        await hop.requests.take("one", lambda r: r.body == b"one")
        await house.say(ALICE, BOB, "two")
        await hop.requests.take("two", lambda r: r.body == b"two")
        assert hop.connections == 1
        hop.hang_up()
        await house.say(ALICE, BOB, "three")
        await hop.requests.take("three", lambda r: r.body == b"three")
        assert hop.connections == 2


async def test_the_next_srv_target_takes_over_from_one_that_is_down_or_says_503(tmp_path: Path) -> None:
    async with next_hop("tcp", status=503, Retry_After="60") as busy, next_hop("tcp") as working:
        zone = {
            "_sip._tcp.proxy.test. SRV": (
                f"1 0 {free_port()} down.proxy.test.",
                f"2 0 {busy.port} busy.proxy.test.",
                f"3 0 {working.port} working.proxy.test.",
            ),
            **{f"{name}.proxy.test. A": ("127.0.0.1",) for name in ("down", "busy", "working")},
        }
        async with serve_names(zone) as names:
            settings = TRUSTED | {"nameservers": (names.address,)}
            async with open_house(tmp_path, **settings) as house, house.phone(BOB) as proxy:
                await register_through(proxy, "<sip:proxy.test;transport=tcp;lr>")
                await house.say(ALICE, BOB, "hello")
                await working.requests.take("the message", lambda r: r.body == b"hello")
                assert len(busy.requests.history) == 1
                await house.say(ALICE, BOB, "again")
                await working.requests.take("the second", lambda r: r.body == b"again")
                # The one that failed has its rest, and the DNS is not asked anew.
                assert len(busy.requests.history) == 1
                assert names.asked.count("_sip._tcp.proxy.test. SRV") == 1
                branches = [each.branch for each in (busy.requests.history[0], working.requests.history[0])]
                assert branches[0] != branches[1]


async def test_a_message_waits_where_no_target_is_there(tmp_path: Path) -> None:
    async with open_house(tmp_path, **TRUSTED) as house, house.phone(BOB) as proxy:
        await register_through(proxy, f"<sip:127.0.0.1:{free_port()};transport=tcp;lr>")
        await house.say(ALICE, BOB, "hello")

        async def waits() -> bool:
            return [list(each.values()) for each in await house.waiting(BOB)] == [["unreachable"]]

        await until("the message waits", waits, 30)


async def test_a_long_message_to_a_udp_proxy_goes_over_tcp(tmp_path: Path) -> None:
    async with (
        next_hop("udp") as datagrams,
        next_hop("tcp", port=datagrams.port) as connections,
        open_house(tmp_path, **TRUSTED) as house,
        house.phone(BOB) as proxy,
    ):
        await register_through(proxy, f"<sip:127.0.0.1:{datagrams.port};lr>")
        await house.say(ALICE, BOB, "short")
        await datagrams.requests.take("the short one", lambda r: r.body == b"short")
        await house.say(ALICE, BOB, "x" * 2000)
        message = await connections.requests.take("the long one", lambda r: len(r.body) == 2000)
        assert "/TCP " in message["Via"]


@pytest.mark.parametrize(("certified", "reached"), [("proxy.test", True), ("other.test", False)])
async def test_tls_to_a_hop_wants_the_certificate_of_the_uris_name(
    tmp_path: Path, certified: str, reached: bool
) -> None:
    authority = Authority(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority.issue(certified))
    async with (
        next_hop("tls", context=context) as hop,
        serve_names({"proxy.test. A": ("127.0.0.1",)}) as names,
        open_house(
            tmp_path, nameservers=(names.address,), peer_authorities=str(authority.file), **TRUSTED
        ) as house,
        house.phone(BOB) as proxy,
    ):
        await register_through(proxy, f"<sip:proxy.test:{hop.port};transport=tls;lr>")
        await house.say(ALICE, BOB, "secret")
        if reached:
            message = await hop.requests.take("the message", lambda r: r.body == b"secret")
            assert "/TLS " in message["Via"]
            return

        async def waits() -> bool:
            return [list(each.values()) for each in await house.waiting(BOB)] == [["unreachable"]]

        await until("the message waits", waits, 30)
        assert not hop.requests.history


async def test_notifications_follow_the_record_route(tmp_path: Path) -> None:
    async with open_house(tmp_path, **TRUSTED) as house, next_hop("tcp") as hop:
        await house.befriend(ALICE, BOB)
        route = f"<sip:127.0.0.1:{hop.port};transport=tcp;lr>"
        async with house.phone(BOB, "tcp") as proxy:
            watch = await subscribe_through(proxy, route)
            assert watch["Record-Route"] == route
            assert f":{house.ports['tcp']};transport=tcp" in watch["Contact"]
            first = await hop.requests.take("a NOTIFY", lambda r: r.method == "NOTIFY")
            assert first["Route"] == route
            assert first.uri == "sip:bob@phone.invalid"
            assert f":{house.ports['tcp']};transport=tcp" in first["Contact"]
        # The proxy's connection is gone; the subscription is not.
        await house.desk(ALICE)
        await hop.requests.take("alice is there", lambda r: b"<basic>open</basic>" in r.body)
        # Nor is it after a restart.
        await house.stop()
        await house.start(**TRUSTED)
        await house.leave(ALICE)
        await hop.requests.take("alice is gone", lambda r: b"<basic>closed</basic>" in r.body)


async def subscribe_through(phone: Phone, route: str) -> SipMessage:
    host, port = phone.local
    return await phone.send(
        SipMessage(
            "SUBSCRIBE sip:alice@example.org SIP/2.0",
            [
                ("Via", f"SIP/2.0/TCP {host}:{port};branch=z9hG4bK{secrets.token_hex(8)}"),
                ("Via", "SIP/2.0/UDP 192.0.2.77;branch=z9hG4bK2"),
                ("Record-Route", route),
                ("Max-Forwards", "69"),
                ("From", "<sip:bob@example.org>;tag=1"),
                ("To", "<sip:alice@example.org>"),
                ("Call-ID", secrets.token_hex(8)),
                ("CSeq", "1 SUBSCRIBE"),
                ("Contact", "<sip:bob@phone.invalid>"),
                ("Event", "presence"),
                ("Expires", "600"),
                ("P-Asserted-Identity", "<sip:bob@example.org>"),
            ],
        )
    )


class Elsewhere(Phone):
    """A phone that says it is somewhere else."""

    said = ""

    @property
    def contact(self) -> str:
        return self.said


async def test_a_phone_points_us_at_no_neighbour(tmp_path: Path) -> None:
    zone = {"rebind.example.net. A": ("127.0.0.1",)}
    async with (
        next_hop("tcp") as victim,
        serve_names(zone) as names,
        open_house(tmp_path, nameservers=(names.address,)) as house,
    ):
        await house.befriend(ALICE, BOB)
        async with Elsewhere(
            str(BOB), PASSWORD, ("127.0.0.1", house.ports["tcp"]), "tcp", algorithms=("MD5",)
        ) as phone:
            phone.said = f"<sip:bob@rebind.example.net:{victim.port};transport=tcp>"
            watch = await phone.subscribe("alice@example.org")
            assert watch.response.status == 200
            await watch.state("active")
            path = f"<sip:127.0.0.1:{victim.port};transport=tcp;lr>"
            assert (await phone.register(Path=path)).status == 200
        await until("the phone is gone", lambda: not house.door or not len(house.door.sessions()) > 1, 30)
        await house.desk(ALICE)
        await until("the name was looked up", lambda: "rebind.example.net. A" in names.asked, 30)
        await house.say(ALICE, BOB, "hello")

        async def waits() -> bool:
            return bool(await house.waiting(BOB))

        await until("the message waits", waits, 30)
        assert not victim.connections


async def test_the_outbound_proxy_is_the_first_of_the_route(tmp_path: Path) -> None:
    async with next_hop("tcp") as hop:
        outbound = f"sip:127.0.0.1:{hop.port};transport=tcp"
        async with open_house(tmp_path, outbound_proxy=outbound, **TRUSTED) as house:
            async with house.phone(BOB, "tcp") as proxy:
                asserted: dict[str, Any] = {"P-Asserted-Identity": "<sip:bob@example.org>"}
                assert (await proxy.register(**asserted)).status == 200
            await house.say(ALICE, BOB, "hello")
            message = await hop.requests.take("the message", lambda r: r.body == b"hello")
            assert message["Route"] == f"<{outbound};lr>"


async def test_phones_behind_one_proxy_have_their_own_names(tmp_path: Path) -> None:
    """Which phone sent something shows in the conversation, though all come on one flow."""
    async with open_house(tmp_path, **TRUSTED) as house, house.phone(BOB) as proxy:
        await house.befriend(ALICE, BOB)
        await house.desk(ALICE)
        for port in (5061, 5062):
            assert (await behind(proxy, "REGISTER", "sip:example.org", port)).status == 200
        names = []
        for port in (5061, 5062, 5061):
            assert (await behind(proxy, "MESSAGE", "sip:alice@example.org", port)).status == 200
            (message,) = await house.heard()
            names.append(message.sender_endpoint)
        assert names[0] == names[2] != names[1]
        assert all(name.startswith("sip:phone-") for name in names)


async def behind(proxy: Phone, method: str, uri: str, port: int) -> SipMessage:
    host, own = proxy.local
    via = (
        f"SIP/2.0/UDP 192.168.0.9:5060;received=203.0.113.7;rport={port};branch=z9hG4bK{secrets.token_hex(8)}"
    )
    to = "<sip:bob@example.org>" if method == "REGISTER" else f"<{uri}>"
    return await proxy.send(
        SipMessage(
            f"{method} {uri} SIP/2.0",
            [
                ("Via", f"SIP/2.0/UDP {host}:{own};branch=z9hG4bK{secrets.token_hex(8)}"),
                ("Via", via),
                ("Max-Forwards", "69"),
                ("From", "<sip:bob@example.org>;tag=1"),
                ("To", to),
                ("Call-ID", secrets.token_hex(8)),
                ("CSeq", f"1 {method}"),
                ("Contact", f"<sip:bob@203.0.113.7:{port}>"),
                ("Content-Type", "text/plain"),
                ("P-Asserted-Identity", "<sip:bob@example.org>"),
            ],
            b"hello" if method == "MESSAGE" else b"",
        )
    )


async def test_the_resolver_asks_once_and_follows_naptr_to_addresses() -> None:
    zone = {
        "example.net. NAPTR": ('10 10 "s" "SIP+D2T" "" _sip._tcp.example.net.',),
        "_sip._tcp.example.net. SRV": ("1 0 5070 a.example.net.",),
        "a.example.net. A": ("192.0.2.1", "192.0.2.2"),
        "a.example.net. AAAA": ("2001:db8::1",),
    }
    async with serve_names(zone) as names:
        resolver = Resolver((names.address,))
        for _ in range(3):
            targets = await resolver.locate(parse_uri("sip:example.net"))
            assert {(t.transport, t.host, t.port) for t in targets} == {
                ("tcp", "2001:db8::1", 5070), ("tcp", "192.0.2.1", 5070), ("tcp", "192.0.2.2", 5070),
            }  # fmt: skip
        assert len(names.asked) == 4
        assert await resolver.locate(parse_uri("sip:nobody.example.net")) == ()


async def test_the_systems_own_names_count() -> None:
    targets = await Resolver().locate(parse_uri("sip:localhost:5060"))
    assert "127.0.0.1" in {target.host for target in targets}


async def test_names_the_system_is_slow_about_hold_up_nothing_else() -> None:
    asked, answer = threading.Semaphore(0), threading.Event()

    def slow(*_: object, **__: object) -> list[Any]:
        asked.release()
        answer.wait(PATIENCE)
        return []

    resolver = Resolver(system=slow)
    # The DNS is not asked for these (RFC 6761 §6.3).
    asking = [asyncio.ensure_future(resolver.addresses(f"n{number}.localhost")) for number in range(50)]
    try:
        await until("the system is asked", lambda: asked.acquire(blocking=False), PATIENCE)
        async with asyncio.timeout(PATIENCE):
            assert await asyncio.to_thread(str, "free") == "free"
    finally:
        answer.set()
    assert await asyncio.gather(*asking) == [()] * 50
