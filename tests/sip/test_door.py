"""The whole door, by phones over real sockets."""

from __future__ import annotations

import asyncio
import ssl
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest

from presence.address import Address
from presence.guarding import Unguarded
from tests.sip.house import ALICE, BOB, CAROL, PASSWORD, House, open_house
from tests.support.inbox import PATIENCE
from tests.support.pidf import pidf
from tests.support.sipwire import SipMessage, credentials
from tests.support.waiting import until


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with open_house(tmp_path) as opened:
        yield opened


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
@pytest.mark.parametrize("transport", ["udp", "tcp", "tls"])
async def test_a_phone_registers_and_is_seen(house: House, transport: str, host: str) -> None:
    async with house.phone(BOB, transport, host=host) as phone:
        response = await phone.register()
        assert response.status == 200
        assert phone.contact.strip("<>") in response["Contact"]
        assert (await house.seen(BOB)).online
        assert (await phone.unregister()).status == 200
        assert not (await house.seen(BOB)).online


@pytest.mark.parametrize("transport", ["udp", "tcp", "tls", "ws"])
async def test_messages_cross_both_ways(house: House, transport: str) -> None:
    await house.befriend(ALICE, BOB)
    await house.desk(ALICE)
    async with house.phone(BOB, transport) as phone:
        await phone.register()
        assert (await phone.message("alice@example.org", "héllo <you> 🎉\nsecond")).status == 200
        (message,) = await house.heard()
        assert message.bodies[0].text == "héllo <you> 🎉\nsecond"
        assert message.sender == BOB
        assert message.sender_endpoint.startswith("sip:phone-")
        await house.say(ALICE, BOB, "hî")
        request = await phone.hears("hî")
        assert request["From"].startswith("<sip:alice@example.org>;tag=")


async def test_a_contact_is_given_back_whole_and_called_without_what_has_no_place_there(house: House) -> None:
    """RFC 3261 §10.3 step 8, §19.1.1."""
    await house.befriend(ALICE, BOB)
    contact = "<sip:bob@127.0.0.1;method=INVITE;ob?Subject=x>"
    async with house.phone(BOB, "tcp") as phone:
        answer = await phone.register(contact=contact)
        assert answer["Contact"].startswith(contact)
        await house.say(ALICE, BOB, "hello")
        assert (await phone.hears("hello")).start == "MESSAGE sip:bob@127.0.0.1;ob SIP/2.0"
        watch = await phone.subscribe(str(ALICE), contact=contact)
        assert (await watch.state("active")).start == "NOTIFY sip:bob@127.0.0.1;ob SIP/2.0"


async def test_a_subscription_follows_the_other_side(house: House) -> None:
    await house.befriend(ALICE, BOB)
    await house.desk(ALICE)
    async with house.phone(BOB) as phone:
        watch = await phone.subscribe("alice@example.org")
        assert watch.response.status == 200
        first = await watch.state("active")
        assert 'id="ID-desk"' in first.text
        await house.leave(ALICE)
        last = await watch.state("active")
        assert "closed" in last.text
        assert (await watch.end()).status == 200
        await watch.state("terminated;reason=timeout")


async def test_options_tell_what_is_served_and_ask_nobody(house: House) -> None:
    async with house.phone(BOB) as phone:
        response = await phone.request("OPTIONS", "sip:example.org", authenticate=False)
        assert response.status == 200
        assert response["Allow"] == "MESSAGE, NOTIFY, OPTIONS, PUBLISH, REGISTER, SUBSCRIBE"
        assert response["Allow-Events"] == "dialog, presence, presence.winfo, reg, xcap-diff"
        assert {"application/pidf+xml", "text/plain", "message/cpim"} < set(response["Accept"].split(", "))


@pytest.mark.parametrize(
    ("method", "status"),
    [("INVITE", 405), ("NONSENSE", 405), ("BYE", 481), ("NOTIFY", 481), ("CANCEL", 481), ("PRACK", 481)],
)
async def test_what_is_not_served_says_so(house: House, method: str, status: int) -> None:
    async with house.phone(BOB) as phone:
        response = await phone.request(method, "sip:bob@example.org")
        assert response.status == status
        if status == 405:
            assert response["Allow"]


# --- who is who -----------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithms", [("SHA-256",), ("MD5",)])
@pytest.mark.parametrize("qop", [True, False])
async def test_digest_in_every_offered_form(house: House, algorithms: tuple[str, ...], qop: bool) -> None:
    async with house.phone(BOB, algorithms=algorithms, qop=qop) as phone:
        assert (await phone.register()).status == 200


async def test_a_wrong_password_and_an_unknown_user_hear_the_same(house: House) -> None:
    nobody = Address("nobody", "example.org")
    async with house.phone(BOB, password="wrong") as liar, house.phone(nobody) as ghost:
        heard = []
        for phone in (liar, ghost):
            asked = await phone.request("REGISTER", "sip:example.org", authenticate=False)
            refused = await phone.register()
            heard.append((asked.status, refused.status, len(refused.all("WWW-Authenticate"))))
        assert heard == [(401, 401, 2), (401, 401, 2)]


class TwoTries(Unguarded):
    """A guard that keeps an account's peer out after two failures."""

    def __init__(self) -> None:
        self.failures: Counter[tuple[str, str]] = Counter()

    async def wait(self, peer: str, account: str) -> float:
        return 29.5 if self.failures[peer, account] >= 2 else 0.0

    async def failed(self, peer: str, account: str) -> None:
        self.failures[peer, account] += 1


async def test_too_many_wrong_passwords_end_in_403(tmp_path: Path) -> None:
    async with open_house(tmp_path, guard=TwoTries()) as house:
        async with house.phone(BOB, password="wrong") as liar:
            heard = [await liar.register() for _ in range(3)]
            assert [response.status for response in heard] == [401, 401, 403]
            assert heard[2]["Retry-After"] == "30"
        async with house.phone(CAROL) as other:
            assert (await other.register()).status == 200


async def test_nobody_speaks_registers_or_publishes_as_someone_else(house: House) -> None:
    async with house.phone(BOB) as phone:
        forged = f"<sip:{CAROL}>;tag=1"
        message = await phone.request("MESSAGE", f"sip:{ALICE}", [], b"I am carol", from_=forged)
        register = await phone.request(
            "REGISTER", "sip:example.org", [("Contact", phone.contact)], to=f"<sip:{CAROL}>"
        )
        assert (message.status, register.status) == (403, 403)
        stranger = "<sip:eve@elsewhere.example>;tag=1"
        assert (await phone.request("MESSAGE", f"sip:{ALICE}", [], b"x", from_=stranger)).status == 403
        assert await house.waiting(ALICE) == []
        assert not (await house.seen(CAROL)).online


async def test_the_same_branch_with_credentials_is_a_new_request(house: House) -> None:
    async with house.phone(BOB) as phone:

        def build(*more: tuple[str, str]) -> SipMessage:
            host, port = phone.local
            return SipMessage(
                f"MESSAGE sip:{ALICE} SIP/2.0",
                [("Via", f"SIP/2.0/UDP {host}:{port};branch=z9hG4bKsame"), ("From", f"<sip:{BOB}>;tag=1"),
                 ("To", f"<sip:{ALICE}>"), ("Call-ID", "same"), ("CSeq", "1 MESSAGE"),
                 ("Content-Type", "text/plain"), *more],
                b"hi",
            )  # fmt: skip

        asked = await phone.send(build())
        proof = credentials(
            asked.all("WWW-Authenticate"), method="MESSAGE", uri=f"sip:{ALICE}", user="bob",
            password=PASSWORD, qop=False,
        )  # fmt: skip
        assert (await phone.send(build(("Proxy-Authorization", proof)))).status == 202


# --- flows ----------------------------------------------------------------------------------------


async def test_a_phone_whose_connection_breaks_is_gone_with_all_it_said(house: House) -> None:
    async with house.phone(BOB, "tcp") as phone:
        await phone.register(600)
        await phone.publish(pidf(str(BOB), note="here"))
        phone.close()
        document = await house.until_seen(BOB, online=False)
        assert document.tuples == ()


async def test_a_new_connection_of_the_same_phone_outlives_the_old_one(house: House) -> None:
    contact = '<sip:bob@192.0.2.2;transport=tcp>;+sip.instance="<urn:uuid:1>"'
    async with house.phone(BOB, "tcp") as old, house.phone(BOB, "tcp") as new:
        await old.register(contact=contact)
        assert (await new.register(contact=contact)).status == 200
        old.close()
        await new.request("OPTIONS", "sip:example.org")
        await house.say(ALICE, BOB, "to the new one")
        await new.hears("to the new one")
        assert len((await house.seen(BOB)).tuples) == 1


async def test_several_phones_of_one_person_are_listed_and_each_hears_everything_once(house: House) -> None:
    async with house.phone(BOB) as one, house.phone(BOB, "tcp") as two:
        await one.register()
        response = await two.register()
        assert len(response.all("Contact")) == 2
        await house.say(ALICE, BOB, "both")
        await one.hears("both")
        await two.hears("both")
        assert len((await house.seen(BOB)).tuples) == 2


async def test_a_dead_process_leaves_no_connected_phone_and_keeps_the_others(house: House) -> None:
    async with house.phone(BOB) as udp, house.phone(CAROL, "tcp") as tcp:
        await udp.register()
        await tcp.register()
        await house.stop()
        await house.start()
        assert (await house.seen(BOB)).online
        assert not (await house.seen(CAROL)).online


async def test_keepalives_are_answered_on_streams_and_ignored_on_udp(house: House) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", house.ports["tcp"])
    writer.write(b"\r\n\r\n")
    assert await reader.readexactly(2) == b"\r\n"
    writer.close()
    await writer.wait_closed()
    async with house.phone(BOB) as phone:
        for nothing in (b"\0", b"jaK", b"\r\n\r\n", b"\0\1\0\0\x21\x12\xa4\x42" + bytes(12)):
            phone.send_bytes(nothing)
        assert (await phone.register()).status == 200


async def test_a_stream_that_loses_its_boundaries_is_closed_with_an_answer(house: House) -> None:
    async with house.phone(BOB, "tcp") as phone:
        response = await phone.message(str(ALICE), "x" * 200_000, patience=8)
        assert response.status in (413, 513)
    async with house.phone(BOB, "tcp") as phone:
        assert (await phone.register()).status == 200


async def test_connections_of_one_address_are_limited(tmp_path: Path) -> None:
    async with open_house(tmp_path, max_connections_per_address=1) as house:
        _, first = await asyncio.open_connection("127.0.0.1", house.ports["tcp"])
        reader, second = await asyncio.open_connection("127.0.0.1", house.ports["tcp"])
        assert await reader.read() == b""
        for writer in (first, second):
            writer.close()


async def test_a_broken_request_gets_its_status_and_the_next_one_is_served(house: House) -> None:
    async with house.phone(BOB) as phone:
        host, port = phone.local
        broken = SipMessage(
            "REGISTER sip:example.org SIP/7.0",
            [("Via", f"SIP/2.0/UDP {host}:{port};branch=z9hG4bKy"), ("From", "<sip:b@d>;tag=1"),
             ("To", "<sip:b@d>"), ("Call-ID", "x"), ("CSeq", "1 REGISTER")],
        )  # fmt: skip
        assert (await phone.send(broken)).status == 505
        assert (await phone.register()).status == 200


async def test_sessions_are_listed(house: House) -> None:
    async with house.phone(BOB) as phone, house.phone(CAROL, "tcp") as silent:
        await phone.register()
        await phone.subscribe(str(ALICE))
        await silent.request("OPTIONS", "sip:example.org")
        assert house.door is not None
        kinds = sorted(row["kind"] for row in house.door.sessions())
        assert kinds == ["sip binding", "sip connection", "sip dialog"]


async def test_what_the_bus_lost_is_said_again(house: House) -> None:
    await house.befriend(ALICE, BOB)
    async with house.phone(BOB) as udp, house.phone(BOB, "tcp") as tcp:
        await udp.register()
        await tcp.register()
        watch = await tcp.subscribe(str(ALICE))
        await watch.state("active")
        house.bus._people.clear()
        house.bus._records.clear()
        assert house.door is not None
        await house.door.restate()
        assert len((await house.seen(BOB)).tuples) == 2
        assert len(await house.bus.records("sip-1")) == 1
        await house.desk(ALICE)
        await watch.notified("her desk", lambda n: "ID-desk" in n.text)
        await house.say(ALICE, BOB, "both again")
        await udp.hears("both again")
        await tcp.hears("both again")


# --- TLS ------------------------------------------------------------------------------------------


async def test_who_is_still_at_the_tls_handshake_counts_as_connected(tmp_path: Path) -> None:
    async with open_house(tmp_path, max_connections_per_address=3) as house:
        place = ("127.0.0.1", house.ports["tls"])
        knocking = [await asyncio.open_connection(*place) for _ in range(3)]
        assert house.door is not None
        listener = house.door._listener
        assert listener is not None
        await until("three have knocked", lambda: listener._knocks == 3, PATIENCE)
        reader, writer = await asyncio.open_connection(*place)
        async with asyncio.timeout(PATIENCE):
            with suppress(ConnectionResetError):
                assert await reader.read() == b""
        writer.close()
        knocking[0][1].close()
        await until("one has gone", lambda: listener._knocks == 2, PATIENCE)
        async with house.phone(BOB, "tls") as phone:
            assert (await phone.register()).status == 200
            assert listener._knocks == 2
            assert listener._per_network == {"127.0.0.1": 3}
        for _, each in knocking[1:]:
            each.close()
        await until("all have gone", lambda: not listener._per_network and not listener._knocks, PATIENCE)


async def test_what_comes_with_the_end_of_the_handshake_is_heard(house: House) -> None:
    """The client's Finished and its first request in one segment."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(incoming, outgoing)
    reader, writer = await asyncio.open_connection("127.0.0.1", house.ports["tls"])
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                client.do_handshake()
                break
            except ssl.SSLWantReadError:
                writer.write(outgoing.read())
                incoming.write(await reader.read(65_536))
        request = (
            "OPTIONS sip:example.org SIP/2.0\r\nVia: SIP/2.0/TLS a.invalid;branch=z9hG4bK1\r\n"
            "From: <sip:bob@example.org>;tag=1\r\nTo: <sip:example.org>\r\nCall-ID: 1\r\n"
            "CSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
        )
        client.write(request.encode())
        writer.write(outgoing.read())
        answer = b""
        while not answer:
            incoming.write(await reader.read(65_536))
            with suppress(ssl.SSLWantReadError):
                answer = client.read(65_536)
    assert answer.startswith(b"SIP/2.0 200")
    writer.close()
