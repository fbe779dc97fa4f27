"""Journey 7: wrong passwords, forgeries, oversize, broken input: the right refusal; the service goes on."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.pidf import pidf
from tests.support.sipclient import SilentServer
from tests.support.sipwire import SipMessage
from tests.support.stage import Person, Stage
from tests.support.xmppclient import LoginFailed
from tests.support.xmppwire import SASL, STREAMS, StreamClosed

pytestmark = pytest.mark.journey

STREAM_ERRORS = "{urn:ietf:params:xml:ns:xmpp-streams}"
SASL_ERRORS = "{urn:ietf:params:xml:ns:xmpp-sasl}"


async def the_service_goes_on(stage: Stage) -> None:
    """Two new people can still chat both ways."""
    alice, bob = await stage.friends("alice", "bob")
    async with stage.client(alice) as desk, stage.phone(bob) as phone:
        await phone.register()
        desk.say(bob.address, "still there?")
        await phone.hears("still there?")
        await phone.message(alice.address, "still here")
        await desk.hears("still here")


async def test_a_phone_with_a_wrong_password_or_no_account_is_challenged_again(stage: Stage) -> None:
    (bob,) = await stage.friends("bob")
    wrong = Person(bob.address, "not his password")
    nobody = Person("nobody-at-all@tandem.test", "whatever")
    for person in (wrong, nobody):
        async with stage.phone(person) as phone:
            first = await phone.request("REGISTER", f"sip:{phone.domain}", authenticate=False)
            assert first.status == 401
            assert any("SHA-256" in value for value in first.all("WWW-Authenticate"))
            assert any("MD5" in value for value in first.all("WWW-Authenticate"))
            assert (await phone.register()).status in (401, 403)
            assert (await phone.message(bob.address, "let me in")).status in (401, 403, 407)


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN"])
async def test_a_client_with_a_wrong_password_or_no_account_is_refused(stage: Stage, mechanism: str) -> None:
    (alice,) = await stage.friends("alice")
    for person in (Person(alice.address, "not hers"), Person("nobody-at-all@tandem.test", "whatever")):
        with pytest.raises(LoginFailed):
            await stage.client(person, mechanism=mechanism).login()
    async with stage.client(alice, mechanism=mechanism):
        pass


async def test_a_wrong_password_says_not_authorized(stage: Stage) -> None:
    (alice,) = await stage.friends("alice")
    async with stage.raw() as stream:
        await stream.starttls()
        failure = await stream.authenticate(alice.address.partition("@")[0], "wrong")
        assert failure.tag == f"{SASL}failure"
        assert failure.find(f"{SASL_ERRORS}not-authorized") is not None


async def test_no_password_is_taken_in_the_clear(stage: Stage) -> None:
    (alice,) = await stage.friends("alice")
    async with stage.raw() as stream:
        features = await stream.open()
        assert features.find(f"{SASL}mechanisms") is None
        answer = await stream.authenticate(alice.address.partition("@")[0], alice.password)
        assert answer.tag != f"{SASL}success"


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_a_forged_sender_is_forbidden(stage: Stage, transport: str) -> None:
    alice, bob, mallory = await stage.friends("alice", "bob", "mallory")
    async with stage.client(alice) as desk, stage.phone(mallory, transport) as phone:
        forged = f"<sip:{bob.address}>;tag=forged"
        text = [("Content-Type", "text/plain")]
        assert (
            await phone.request("MESSAGE", f"sip:{alice.address}", text, b"I am bob", from_=forged)
        ).status == 403
        await phone.message(alice.address, "I am mallory")
        await desk.hears("I am mallory")
        assert [m["body"] for m in desk.messages.history if m["body"]] == ["I am mallory"]


async def test_nobody_publishes_or_registers_for_someone_else(stage: Stage) -> None:
    alice, bob, mallory = await stage.friends("alice", "bob", "mallory")
    async with stage.client(alice) as desk, stage.phone(mallory) as phone:
        assert (await phone.publish(pidf(bob.address, note="forged"), resource=bob.address)).status == 403
        to_bob = f"<sip:{bob.address}>"
        response = await phone.request(
            "REGISTER", f"sip:{phone.domain}", [("Contact", phone.contact), ("Expires", "60")], to=to_bob
        )
        assert response.status == 403
        await phone.register()
        await desk.online(mallory.address)
        assert [
            p for p in desk.presences.history if p["from"].bare == bob.address and p["status"] == "forged"
        ] == []


async def test_a_client_cannot_speak_as_someone_else(stage: Stage) -> None:
    alice, mallory = await stage.friends("alice", "mallory")
    async with stage.client(alice) as desk, stage.raw() as stream:
        await stream.login(mallory.address.partition("@")[0], mallory.password, "evil")
        stream.send(f"<message from='bob@tandem.test' to='{alice.address}'><body>I am bob</body></message>")
        error = await stream.element()
        assert error.tag == f"{STREAMS}error"
        assert error.find(f"{STREAM_ERRORS}invalid-from") is not None
        await desk.echo()
        assert [m for m in desk.messages.history if m["body"] == "I am bob"] == []


async def test_an_oversize_stanza_ends_its_stream_only(stage: Stage) -> None:
    alice, bob = await stage.friends("alice", "bob")
    async with stage.raw() as stream:
        await stream.login(alice.address.partition("@")[0], alice.password)
        stream.send(f"<message to='{bob.address}'><body>{'x' * 600_000}</body></message>")
        error = await stream.element()
        assert error.tag == f"{STREAMS}error"
        assert error.find(f"{STREAM_ERRORS}policy-violation") is not None
    await the_service_goes_on(stage)


@pytest.mark.parametrize(
    ("nonsense", "condition"),
    [
        ("<message><body>not closed</message>", "not-well-formed"),
        ("<!DOCTYPE x [<!ENTITY a 'b'>]><message/>", None),
        ("<!-- a comment --><message/>", "restricted-xml"),
        (b"<message><body>\xff\xfe</body></message>", None),
        ("<bogus xmlns='urn:example:nothing'/>", "unsupported-stanza-type"),
    ],
)
async def test_broken_xml_gets_its_stream_error(
    stage: Stage, nonsense: str | bytes, condition: str | None
) -> None:
    (alice,) = await stage.friends("alice")
    async with stage.raw(direct_tls=True) as stream:
        await stream.login(alice.address.partition("@")[0], alice.password)
        stream.send(nonsense)
        error = await stream.element()
        assert error.tag == f"{STREAMS}error"
        if condition:
            assert error.find(f"{STREAM_ERRORS}{condition}") is not None, [child.tag for child in error]


async def test_an_oversize_sip_message_is_refused(stage: Stage) -> None:
    alice, bob = await stage.friends("alice", "bob")
    async with stage.phone(bob, "tcp") as phone:
        try:
            response = await phone.message(alice.address, "x" * 2_000_000)
            assert response.status in (413, 513)
        except SilentServer:
            assert not phone.connected
    await the_service_goes_on(stage)


async def test_broken_sip_is_refused_or_ignored_and_the_service_goes_on(stage: Stage) -> None:
    (bob,) = await stage.friends("bob")
    async with stage.phone(bob) as phone:
        for datagram in (
            b"\0",
            b"jaK",
            b"\r\n\r\n",
            b"\xff" * 2000,
            b"MESSAGE\r\n\r\n",
            b"SIP/2.0 200 OK\r\n\r\n",
        ):
            phone.send_bytes(datagram)
        broken = SipMessage(
            "MESSAGE sip:x@tandem.test SIP/2.0",
            [
                ("Via", f"SIP/2.0/UDP {phone.local[0]}:{phone.local[1]};rport;branch=z9hG4bKbroken"),
                ("From", f"<sip:{bob.address}>;tag=1"),
                ("To", "<sip:x@tandem.test>"),
                ("Call-ID", "broken"),
                ("CSeq", "not-a-number MESSAGE"),
                ("Max-Forwards", "70"),
            ],
        )
        phone.send_bytes(broken.encode())
        options = await phone.request("OPTIONS", "sip:tandem.test", authenticate=False)
        assert options.status == 200
        assert "MESSAGE" in options["Allow"]
    async with stage.phone(bob, "tcp") as phone:
        phone.send_bytes(b"no SIP at all\r\n\r\n" * 10)
    await the_service_goes_on(stage)


@pytest.mark.parametrize(
    ("method", "status", "header"),
    [("INVITE", 405, "Allow"), ("NONSENSE", 405, "Allow"), ("SUBSCRIBE", 489, "Allow-Events")],
)
async def test_what_is_not_offered_says_what_is(stage: Stage, method: str, status: int, header: str) -> None:
    (bob,) = await stage.friends("bob")
    async with stage.phone(bob) as phone:
        headers = [("Contact", phone.contact)]
        if method == "SUBSCRIBE":
            headers += [("Event", "no-such-package"), ("Expires", "60")]
        response = await phone.request(method, f"sip:{bob.address}", headers)
        assert response.status == status
        assert response[header]
        if method == "INVITE":
            ack = SipMessage(
                f"ACK sip:{bob.address} SIP/2.0",
                [("Via", response["Via"]), ("From", response["From"]), ("To", response["To"]),
                 ("Call-ID", response["Call-ID"]), ("CSeq", "1 ACK"), ("Max-Forwards", "70")],
            )  # fmt: skip
            phone.send_bytes(ack.encode())


async def test_too_short_a_registration_is_told_the_shortest(stage: Stage) -> None:
    (bob,) = await stage.friends("bob")
    async with stage.phone(bob) as phone:
        response = await phone.register(expires=1)
        assert response.status == 423
        assert int(response["Min-Expires"]) > 1


async def test_an_unknown_entity_tag_is_412(stage: Stage) -> None:
    (bob,) = await stage.friends("bob")
    async with stage.phone(bob) as phone:
        assert (await phone.publish(pidf(bob.address), etag="never-given")).status == 412


async def test_an_unfinished_login_does_not_keep_others_out(stage: Stage) -> None:
    async with asyncio.TaskGroup() as group:
        for _ in range(20):
            group.create_task(_half_open(stage))
    await the_service_goes_on(stage)


async def _half_open(stage: Stage) -> None:
    try:
        async with stage.raw() as stream:
            await stream.open()
            stream.send("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
            await stream.element()
            stream.send(b"\x16\x03\x01 this is no handshake")
    except StreamClosed:
        return
