"""The roster as one subscription (RFC 4662)."""

from __future__ import annotations

import email
import time
from collections.abc import AsyncIterator
from email.message import Message
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from presence.address import Address
from presence.model import PresenceDocument, Text
from presence.subscriptions import Act
from sip.documents import render_of
from sip.eventlist import Reader, ResourceList
from sip.lists import CONTENT_TYPE as RESOURCE_LISTS
from sip.lists import Named
from sip.xcap.document import Document
from sip.xcap.library import Library
from sip.xcap.usages import Place, usages
from tests.sip.house import ALICE, BOB, CAROL, PASSWORD, House, open_house
from tests.support.pidf import read_pidf
from tests.support.sipclient import Phone, Watch
from tests.support.sipwire import SipMessage

NS = "{urn:ietf:params:xml:ns:rlmi}"
LIST = "buddies@example.org"


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with open_house(tmp_path) as opened:
        yield opened


class Unreachable(Phone):
    """Writes an address nobody can reach, as some phones do."""

    @property
    def contact(self) -> str:
        return "<sip:bob@192.0.2.2:5060;transport=tcp>"


async def follow(phone: Phone, event: str = "presence", **fields: Any) -> Watch:
    given = {"Supported": "eventlist", "Accept": "multipart/related, application/rlmi+xml"} | fields
    return await phone.subscribe(LIST, event=event, **given)


def payload(part: Message) -> bytes:
    data = part.get_payload(decode=True)
    assert isinstance(data, bytes)
    return data


def told(notify: SipMessage) -> tuple[bool, int, dict[str, tuple[str, bytes]]]:
    """Is it the full state, its version, and resource → (state of its instance, body)."""
    assert notify["Require"] == "eventlist"
    whole = email.message_from_bytes(f"Content-Type: {notify['Content-Type']}\r\n\r\n".encode() + notify.body)
    parts = {part["Content-ID"]: part for part in whole.walk() if not part.is_multipart()}
    root = parts.pop(str(whole.get_param("start")))
    listed = ElementTree.fromstring(payload(root))
    found: dict[str, tuple[str, bytes]] = {}
    for resource in listed.iter(f"{NS}resource"):
        name = resource.get("uri", "").removeprefix("sip:").partition("@")[0]
        instance = resource.find(f"{NS}instance")
        state, body = "", b""
        if instance is not None:
            state = instance.get("state", "")
            cid = instance.get("cid")
            body = payload(parts.pop(f"<{cid}>")) if cid else b""
        found[name] = (state, body)
    assert not parts
    return listed.get("fullState") == "true", int(listed.get("version", "-1")), found


async def test_all_buddies_in_one_then_only_who_changed(house: House) -> None:
    await house.befriend(BOB, ALICE)
    await house.befriend(BOB, CAROL)
    await house.desk(ALICE, notes=(Text("here"),))
    async with house.phone(BOB, "tcp") as phone:
        watch = await follow(phone)
        assert (watch.response.status, watch.response["Require"]) == (200, "eventlist")
        full, version, found = told(await watch.state("active"))
        assert (full, version, set(found)) == (True, 0, {"alice", "carol"})
        assert read_pidf(found["alice"][1])[0].notes == ("here",)
        assert not read_pidf(found["carol"][1])[0].open
        await house.desk(ALICE, notes=(Text("there"),))
        full, version, found = told(await watch.state("active"))
        assert (full, version, set(found)) == (False, 1, {"alice"})
        assert (await watch.refresh()).status == 200
        assert told(await watch.state("active"))[0]
        assert (await watch.end()).status == 200
        await watch.state("terminated;reason=timeout")


async def test_who_has_not_answered_is_pending_and_hidden_until_then(house: House) -> None:
    await house.desk(ALICE, notes=(Text("secret"),))
    await house.other.act(BOB, ALICE, Act.SUBSCRIBE)
    async with house.phone(BOB, "tcp") as phone:
        watch = await follow(phone)
        assert told(await watch.state("active"))[2] == {"alice": ("pending", b"")}
        await house.other.act(ALICE, BOB, Act.SUBSCRIBED)
        notify = await watch.notified("alice seen", lambda n: "secret" in n.text)
        assert told(notify)[2]["alice"][0] == "active"
        await house.other.act(ALICE, BOB, Act.UNSUBSCRIBED)
        notify = await watch.notified("alice hidden", lambda n: "secret" not in n.text)
        assert told(notify)[2]["alice"][1] == b""


async def test_a_new_buddy_is_in_the_list_at_once_and_a_removed_one_is_not(house: House) -> None:
    await house.befriend(BOB, ALICE)
    async with house.phone(BOB, "tcp") as phone:
        watch = await follow(phone)
        await watch.state("active")
        await house.other.set_item(BOB, CAROL, "Carol", ())
        notify = await watch.notified("carol too", lambda n: "carol" in n.text)
        assert set(told(notify)[2]) == {"alice", "carol"}
        assert "<name>Carol</name>" in notify.text
        await house.other.remove_item(BOB, CAROL)
        notify = await watch.notified("without carol", lambda n: "carol" not in n.text)
        assert told(notify)[0]


async def test_over_udp_a_phone_is_sent_to_tcp_unless_it_has_a_connection(house: House) -> None:
    await house.befriend(BOB, ALICE)
    async with house.phone(BOB) as phone, house.phone(BOB, "tcp") as stream:
        sent = (await follow(phone)).response
        assert (sent.status, sent["Contact"]) == (302, "<sip:buddies@example.org;transport=tcp>")
        await stream.register()
        stream._watches = phone._watches
        watch = await follow(phone)
        assert watch.response.status == 200
        notify = await watch.state("active")
        assert "TCP" in notify["Via"]
        assert set(told(notify)[2]) == {"alice"}


async def test_a_list_of_lamps(house: House) -> None:
    await house.befriend(BOB, ALICE)
    async with house.phone(BOB, "tcp") as phone:
        watch = await follow(phone, "dialog")
        assert b"dialog-info" in told(await watch.state("active"))[2]["alice"][1]


async def test_a_phone_that_lost_its_connection_gets_the_whole_list_on_the_next_one(house: House) -> None:
    await house.befriend(BOB, ALICE)
    async with Unreachable(str(BOB), PASSWORD, ("127.0.0.1", house.ports["tcp"]), "tcp") as phone:
        await phone.register()
        watch = await follow(phone)
        _, before, _ = told(await watch.state("active"))
        await house.stop()
        await house.desk(ALICE, notes=(Text("meanwhile"),))
        await house.start()
        await phone.connect()
        await phone.register()
        full, version, found = told(await watch.state("active"))
        assert full
        assert version > before
        assert b"meanwhile" in found["alice"][1]


@pytest.mark.parametrize(
    ("event", "fields", "status", "named", "value"),
    [
        ("presence", {"Supported": "path"}, 421, "Require", "eventlist"),
        ("presence.winfo", {}, 489, "Allow-Events", "dialog, presence, presence.winfo, reg, xcap-diff"),
        ("presence", {"Require": "no-such-option"}, 420, "Unsupported", "no-such-option"),
    ],
)
async def test_refusals(
    house: House, event: str, fields: dict[str, str], status: int, named: str, value: str
) -> None:
    async with house.phone(BOB, "tcp") as phone:
        watch = await follow(phone, event, **fields)
        assert (watch.response.status, watch.response[named]) == (status, value)


async def test_who_cannot_read_a_list_hears_what_it_would_take(house: House) -> None:
    async with house.phone(BOB) as phone:
        headers = [("Event", "presence"), ("Contact", phone.contact), ("Accept", "application/pidf+xml")]
        answer = await phone.request("SUBSCRIBE", f"sip:{LIST}", [*headers, ("Supported", "eventlist")])
        assert (answer.status, answer["Accept"]) == (406, "multipart/related")


async def test_where_there_are_no_lists_the_address_is_nobody(tmp_path: Path) -> None:
    async with open_house(tmp_path, buddy_list="") as house, house.phone(BOB) as phone:
        assert (await follow(phone)).response.status == 404


# --- lists that come along (RFC 5367) --------------------------------------------------------------


def listing(*uris: str) -> bytes:
    entries = "".join(f'<entry uri="{uri}"><display-name>Dear {uri}</display-name></entry>' for uri in uris)
    return (
        '<resource-lists xmlns="urn:ietf:params:xml:ns:resource-lists">'
        f"<list>{entries}</list></resource-lists>"
    ).encode()


ALONG = {
    "Supported": "eventlist",
    "Accept": "multipart/related, application/rlmi+xml, application/pidf+xml",
    "Require": "recipient-list-subscribe",
    "Content-Type": RESOURCE_LISTS,
    "Content-Disposition": "recipient-list",
}


async def bring(phone: Phone, body: bytes, to: str = "rls@example.org", **fields: str) -> Watch:
    given: dict[str, Any] = ALONG | {name.replace("_", "-"): value for name, value in fields.items()}
    return await phone.subscribe(to, body=body, **given)


async def test_a_list_that_comes_along_is_followed_each_by_their_own_leave(house: House) -> None:
    await house.befriend(BOB, ALICE)
    await house.desk(ALICE, notes=(Text("here"),))
    async with house.phone(BOB, "tcp") as phone:
        uris = (f"sip:{ALICE}", f"sip:{CAROL}", "sip:nobody@example.org", "sip:x@elsewhere.example")
        watch = await bring(phone, listing(*uris))
        assert (watch.response.status, watch.response["Require"]) == (200, "eventlist")
        notify = await watch.state("active")
        full, version, found = told(notify)
        assert (full, version) == (True, 0)
        assert {name: state for name, (state, _) in found.items()} == {
            "alice": "active", "carol": "active", "nobody": "", "x": "",
        }  # fmt: skip
        assert f"<name>Dear sip:{CAROL}</name>" in notify.text
        await house.desk(ALICE, notes=(Text("there"),))
        assert set(told(await watch.state("active"))[2]) == {"alice"}


async def test_who_has_not_decided_is_asked_once_and_answers_within_the_list(house: House) -> None:
    await house.desk(ALICE, notes=(Text("secret"),))
    async with house.phone(BOB, "tcp") as phone:
        watch = await bring(phone, listing(f"sip:{ALICE}"))
        assert told(await watch.state("active"))[2] == {"alice": ("pending", b"")}
        assert (await house.store.item(ALICE, BOB)).pending_in
        await house.other.act(ALICE, BOB, Act.SUBSCRIBED)
        await watch.notified("alice seen", lambda n: "secret" in n.text)
        await house.other.act(ALICE, BOB, Act.UNSUBSCRIBED)
        await watch.notified("alice hidden", lambda n: "secret" not in n.text)
        assert (await watch.refresh()).status == 200
        assert not (await house.store.item(ALICE, BOB)).pending_in


async def test_how_many_are_asked_at_once_counts_by_their_number(tmp_path: Path) -> None:
    """One in ten seconds, and as many at once; but who is shown a list again asks nobody."""
    async with (
        open_house(tmp_path, requests_per_account=0.1, policy="ask") as house,
        house.phone(BOB, "tcp") as phone,
        house.phone(ALICE, "tcp") as other,
    ):
        first = await bring(phone, listing(f"sip:{ALICE}", f"sip:{CAROL}", "sip:nobody@example.org"))
        assert first.response.status == 200
        second = await bring(phone, listing("sip:dave@example.org"))
        assert second.response.status == 480
        assert 15 <= int(second.response["Retry-After"]) <= 20
        assert (await first.refresh()).status == 200
        assert (await follow(phone)).response.status == 200
        assert (await bring(other, listing(f"sip:{CAROL}"))).response.status == 200


async def test_a_list_that_came_along_goes_on_in_the_next_process(house: House) -> None:
    await house.befriend(BOB, ALICE)
    async with Unreachable(str(BOB), PASSWORD, ("127.0.0.1", house.ports["tcp"]), "tcp") as phone:
        await phone.register()
        watch = await bring(phone, listing(f"sip:{ALICE}"))
        await watch.state("active")
        await house.stop()
        await house.start()
        await phone.connect()
        await phone.register()
        full, _, found = told(await watch.state("active"))
        assert (full, set(found)) == (True, {"alice"})


@pytest.mark.parametrize(
    ("body", "fields", "status"),
    [
        (listing(*(f"sip:u{n}@example.org" for n in range(201))), {}, 413),
        (b"nonsense", {}, 400),
        (b"<x/>", {}, 400),
        (b"", {}, 400),
        (listing("sip:a@b"), {"Content_Type": "text/plain"}, 415),
        (listing("sip:a@b"), {"Supported": "path"}, 421),
        (listing("sip:a@b"), {"Accept": "text/plain"}, 406),
    ],
)
async def test_lists_that_cannot_be_served(
    house: House, body: bytes, fields: dict[str, str], status: int
) -> None:
    async with house.phone(BOB, "tcp") as phone:
        assert (await bring(phone, body, **fields)).response.status == status


async def test_one_among_other_parts_is_found(house: House) -> None:
    await house.befriend(BOB, ALICE)
    text = b"--x\r\nContent-Type: text/plain\r\n\r\nhello\r\n"
    head = f"--x\r\nContent-Type: {RESOURCE_LISTS}\r\nContent-Disposition: recipient-list\r\n\r\n".encode()
    body = text + head + listing(f"sip:{ALICE}") + b"\r\n--x--\r\n"
    fields = {"Content_Type": "multipart/mixed;boundary=x", "Content_Disposition": "render"}
    async with house.phone(BOB, "tcp") as phone:
        watch = await bring(phone, body, **fields)
        assert set(told(await watch.state("active"))[2]) == {"alice"}


async def test_another_list_cannot_be_sent_within_the_subscription(house: House) -> None:
    async with house.phone(BOB, "tcp") as phone:
        watch = await bring(phone, listing(f"sip:{BOB}"))
        await watch.state("active")
        watch.cseq += 1
        fields = [("Event", "presence"), ("Expires", "60"), *ALONG.items()]
        refused, _ = await phone.request_in_dialog("SUBSCRIBE", watch, fields, listing(f"sip:{ALICE}"))
        assert refused.status == 415


# --- lists with an address (RFC 4826 §4), and lists within lists ------------------------------------


def leaves(notify: SipMessage) -> list[tuple[str, bytes]]:
    """URI and document of each list, however deep, outermost first."""
    whole = email.message_from_bytes(f"Content-Type: {notify['Content-Type']}\r\n\r\n".encode() + notify.body)
    parts = [payload(part) for part in whole.walk() if part.get_content_type() == "application/rlmi+xml"]
    return [(ElementTree.fromstring(part).get("uri", ""), part) for part in parts]


SERVICES = """<rls-services xmlns="urn:ietf:params:xml:ns:rls-services"
    xmlns:rl="urn:ietf:params:xml:ns:resource-lists">
  <service uri="sip:team@example.org">
    <list><rl:entry uri="sip:inner@example.org"/><rl:entry uri="sip:carol@example.org"/></list>
    <packages><package>presence</package></packages>
  </service>
  <service uri="sip:inner@example.org"><list><rl:entry uri="sip:alice@example.org"/></list></service>
</rls-services>"""


async def test_an_address_may_be_a_list_and_a_list_hold_lists(house: House) -> None:
    library = Library(house.other, house.accounts, ("example.org",), "http://x", "buddies", time.time)
    await library.keep(Place(usages()["rls-services"], BOB, "index"), Document(SERVICES.encode()))
    await house.befriend(BOB, ALICE)
    await house.befriend(BOB, CAROL)
    await house.desk(ALICE, notes=(Text("deep"),))
    async with house.phone(BOB, "tcp") as phone, house.phone(CAROL, "tcp") as other:
        refused = await phone.subscribe("team@example.org")
        assert (refused.response.status, refused.response["Require"]) == (421, "eventlist")
        fields: dict[str, Any] = {"Supported": "eventlist", "Accept": "multipart/related"}
        assert (await other.subscribe("team@example.org", **fields)).response.status == 404
        watch = await phone.subscribe("team@example.org", **fields)
        notify = await watch.state("active")
        assert [uri for uri, _ in leaves(notify)] == ["sip:team@example.org", "sip:inner@example.org"]
        assert "deep" in notify.text
        await house.desk(ALICE, notes=(Text("deeper"),))
        changed = await watch.state("active")
        outer, inner = leaves(changed)
        assert b'version="1" fullState="false"' in outer[1]
        assert b'version="1" fullState="false"' in inner[1]
        assert b"carol" not in outer[1]
        assert "deeper" in changed.text


async def test_lists_that_hold_each_other_are_each_read_once(house: House) -> None:
    names = [f"ring{number}" for number in range(20)]
    entries = "".join(f'<rl:entry uri="sip:{name}@example.org"/>' for name in names)
    services = "".join(
        f'<service uri="sip:{name}@example.org"><list>{entries}</list></service>' for name in names
    )
    document = (
        '<rls-services xmlns="urn:ietf:params:xml:ns:rls-services"'
        f' xmlns:rl="urn:ietf:params:xml:ns:resource-lists">{services}</rls-services>'
    )
    library = Library(house.other, house.accounts, ("example.org",), "http://x", "buddies", time.time)
    await library.keep(Place(usages()["rls-services"], BOB, "index"), Document(document.encode()))
    async with house.phone(BOB, "tcp") as phone:
        watch = await phone.subscribe("ring0@example.org", Supported="eventlist", Accept="multipart/related")
        found = [uri for uri, _ in leaves(await watch.state("active"))]
    assert len(found) == len(set(found)) == 20


async def test_a_list_with_the_lists_in_it_has_an_end(house: House) -> None:
    asked: list[Address] = []

    async def lookup(watcher: Address, address: Address, event: str) -> dict[Address, str]:
        asked.append(address)
        return {Address(f"{address.local}-{number}", "example.org"): "" for number in range(100)}

    def unseen(address: Address) -> PresenceDocument | None:
        return None

    render = render_of("presence", "application/pidf+xml")
    team = Address("team", "example.org")
    reader = Reader(house.other, BOB, "presence", render, unseen, lookup)
    assert {BOB} == set(await ResourceList(reader, team, Named(lookup, BOB, team, "presence")).load())
    assert len(asked) < 2000
