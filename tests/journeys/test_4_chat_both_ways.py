"""Journey 4: chat both ways; every character arrives; long text is refused or carried, never cut."""

from __future__ import annotations

import pytest

from tests.support.stage import Stage

pytestmark = pytest.mark.journey

TEXTS = {
    "plain": "hello",
    "utf-8": "Grüße, žluťoučký kůň, 日本語, עברית",
    "emoji": "👩‍👩‍👧‍👦 🏳️‍🌈 🎉",
    "newlines": "first\nsecond\n\nfourth",
    "markup": "<b>&amp; \"quotes\" 'n' ]]> <!-- &lt;</b>",
    "spaces": "  leading, trailing  \ttab ",
    "sip-like": "MESSAGE sip:a@b SIP/2.0\nContent-Length: 0\n\nVia: x",
}


@pytest.mark.parametrize("transport", ["udp", "tcp", "tls"])
async def test_every_text_arrives_as_it_was_written_in_both_directions(stage: Stage, transport: str) -> None:
    alice, bob = await stage.friends("alice", "bob")
    async with stage.client(alice) as desk, stage.phone(bob, transport) as phone:
        await phone.register()
        for text in TEXTS.values():
            response = await phone.message(alice.address, text)
            assert response.status == 200
            heard = await desk.hears(text)
            assert heard["from"].bare == bob.address
            assert heard["to"].bare == alice.address

            desk.say(bob.address, text)
            request = await phone.hears(text)
            assert f"sip:{alice.address}" in request["From"]
            assert request["Content-Type"].lower().replace(" ", "").startswith("text/plain")


async def test_each_message_arrives_once_and_in_order(stage: Stage) -> None:
    alice, bob = await stage.friends("alice", "bob")
    async with stage.client(alice) as desk, stage.phone(bob) as phone:
        await phone.register()
        spoken = [f"line {number}" for number in range(20)]
        for text in spoken:
            desk.say(bob.address, text)
        await phone.hears(spoken[-1])
        assert [r.text for r in phone.requests.history if r.method == "MESSAGE"] == spoken

        for text in spoken:
            assert (await phone.message(alice.address, text)).status == 200
        await desk.hears(spoken[-1])
        assert [m["body"] for m in desk.messages.history if m["body"]] == spoken


async def test_latin_1_from_a_phone_becomes_the_same_letters(stage: Stage) -> None:
    alice, bob = await stage.friends("alice", "bob")
    async with stage.client(alice) as desk, stage.phone(bob) as phone:
        await desk.online(alice.address)
        body = "café à la crème".encode("latin-1")
        response = await phone.message(alice.address, body, content_type="text/plain; charset=iso-8859-1")
        assert response.status == 200
        await desk.hears("café à la crème")


async def test_subject_and_language_cross(stage: Stage) -> None:
    alice, bob = await stage.friends("alice", "bob")
    async with stage.client(alice) as desk, stage.phone(bob) as phone:
        await phone.register()
        await phone.message(alice.address, "Guten Tag", Subject="Betreff", Content_Language="de")
        heard = await desk.hears("Guten Tag")
        assert heard["subject"] == "Betreff"

        message = desk.xmpp.make_message(mto=bob.address, mbody="Bonjour", msubject="Sujet", mtype="chat")
        message.xml.set("{http://www.w3.org/XML/1998/namespace}lang", "fr")
        message.send()
        request = await phone.hears("Bonjour")
        assert request["Subject"] == "Sujet"
        assert request["Content-Language"] == "fr"


async def test_a_long_text_to_a_datagram_phone_is_refused_to_its_sender(stage: Stage) -> None:
    alice, bob = await stage.friends("alice", "bob")
    async with stage.client(alice) as desk, stage.phone(bob, "udp") as phone:
        await phone.register()
        id = desk.say(bob.address, "long " * 800)
        assert await desk.bounced(id) == "policy-violation"
        desk.say(bob.address, "short")
        await phone.hears("short")
        assert [r.text for r in phone.requests.history if r.method == "MESSAGE"] == ["short"]


async def test_a_long_text_over_a_stream_arrives_whole_in_both_directions(stage: Stage) -> None:
    alice, bob = await stage.friends("alice", "bob")
    text = "".join(f"{number} ä\n" for number in range(3000))
    async with stage.client(alice) as desk, stage.phone(bob, "tcp") as phone:
        await phone.register()
        assert (await phone.message(alice.address, text)).status == 200
        await desk.hears(text)
        desk.say(bob.address, text)
        await phone.hears(text)


async def test_a_phone_that_refuses_is_reported_to_the_sender(stage: Stage) -> None:
    alice, bob = await stage.friends("alice", "bob")
    async with stage.client(alice) as desk, stage.phone(bob) as phone:
        await phone.register()
        phone.answers["MESSAGE"] = (415, "Unsupported Media Type")
        id = desk.say(bob.address, "can you read this?")
        assert await desk.bounced(id) == "not-acceptable"


async def test_messages_to_nobody_are_refused_in_the_senders_protocol(stage: Stage) -> None:
    (alice,) = await stage.friends("alice")
    async with stage.client(alice) as desk, stage.phone(alice) as phone:
        id = desk.say("nobody-at-all@tandem.test", "hello?")
        assert await desk.bounced(id) in ("service-unavailable", "item-not-found")
        assert (await phone.message("nobody-at-all@tandem.test", "hello?")).status in (404, 604)
