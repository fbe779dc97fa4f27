"""Who watches me, told to my phone (RFC 3857, RFC 3858)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from xml.etree import ElementTree

import pytest

from presence.address import Address
from presence.subscriptions import Act
from tests.sip.house import ALICE, BOB, CAROL, House, open_house
from tests.support.sipclient import Watch
from tests.support.sipwire import SipMessage

NS = "{urn:ietf:params:xml:ns:watcherinfo}"
ACCEPT = "application/watcherinfo+xml"


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with open_house(tmp_path) as opened:
        yield opened


def told(notify: SipMessage) -> tuple[str, int, dict[str, tuple[str, str]]]:
    """State, version, and watcher → (status, event)."""
    root = ElementTree.fromstring(notify.body)
    (listed,) = root
    assert listed.get("package") == "presence"
    watchers = {
        (w.text or "").removeprefix("sip:").partition("@")[0]: (w.get("status", ""), w.get("event", ""))
        for w in listed.iter(f"{NS}watcher")
    }
    return root.get("state", ""), int(root.get("version", "-1")), watchers


async def test_requests_approvals_and_cancellations_are_told_in_order(house: House) -> None:
    await house.desk(ALICE)
    await house.befriend(ALICE, CAROL)
    async with house.phone(ALICE) as phone:
        watch = await phone.subscribe(str(ALICE), event="presence.winfo", Accept=ACCEPT)
        assert watch.response.status == 200
        first = await watch.state("active")
        assert first["Content-Type"] == ACCEPT
        assert told(first) == ("full", 0, {"carol": ("active", "approved")})
        await house.other.act(BOB, ALICE, Act.SUBSCRIBE)
        assert told(await watch.state("active")) == ("partial", 1, {"bob": ("pending", "subscribe")})
        await house.other.act(ALICE, BOB, Act.SUBSCRIBED)
        assert told(await watch.state("active")) == ("partial", 2, {"bob": ("active", "approved")})
        await house.other.act(ALICE, CAROL, Act.UNSUBSCRIBED)
        assert told(await watch.state("active")) == ("partial", 3, {"carol": ("terminated", "rejected")})
        await watch.refresh()
        assert told(await watch.state("active")) == ("full", 4, {"bob": ("active", "approved")})


async def test_only_the_owner_is_told_and_nobody_learns_who_exists(house: House) -> None:
    async with house.phone(BOB) as phone:
        for target in (str(ALICE), "nobody@example.org"):
            watch = await phone.subscribe(target, event="presence.winfo", Accept=ACCEPT)
            assert watch.response.status == 403


async def test_it_cannot_be_published(house: House) -> None:
    async with house.phone(BOB) as phone:
        headers = [("Event", "presence.winfo"), ("Expires", "600"), ("Content-Type", ACCEPT)]
        assert (await phone.request("PUBLISH", f"sip:{BOB}", headers, b"<x/>")).status == 489


async def test_a_fetch_is_one_full_document(house: House) -> None:
    await house.befriend(ALICE, CAROL)
    async with house.phone(ALICE) as phone:
        watch = await phone.subscribe(str(ALICE), event="presence.winfo", expires=0, Accept=ACCEPT)
        assert told(await watch.state("terminated"))[2] == {"carol": ("active", "approved")}


async def test_more_than_fits_a_packet_follows_in_further_ones(house: House) -> None:
    names = [f"friend-number-{number:03}" for number in range(40)]
    for name in names:
        await house.accounts.add(Address(name, "example.org"), "x")
        await house.befriend(ALICE, Address(name, "example.org"))
    async with house.phone(ALICE) as phone:
        watch: Watch = await phone.subscribe(str(ALICE), event="presence.winfo", Accept=ACCEPT)
        seen: set[str] = set()
        states: list[str] = []
        while len(seen) < 40:
            notify = await watch.state("active")
            assert len(notify.encode()) <= 1300
            state, version, watchers = told(notify)
            assert version == len(states)
            states.append(state)
            seen |= set(watchers)
        assert states[0] == "full"
        assert set(states[1:]) == {"partial"}


async def test_it_goes_on_in_the_next_process_in_full(house: House) -> None:
    await house.befriend(ALICE, CAROL)
    async with house.phone(ALICE) as phone:
        watch = await phone.subscribe(str(ALICE), event="presence.winfo", Accept=ACCEPT)
        before = told(await watch.state("active"))
        await house.stop()
        await house.start()
        after = told(await watch.state("active"))
        assert (after[0], after[2]) == ("full", before[2])
        assert after[1] > before[1]


def rows(notify: SipMessage) -> list[dict[str, str]]:
    return [dict(w.attrib) for w in ElementTree.fromstring(notify.body).iter(f"{NS}watcher")]


async def test_each_phones_subscription_is_a_watcher_with_its_times(house: House) -> None:
    await house.befriend(ALICE, BOB)
    await house.other.set_item(ALICE, BOB, "Bob & sons", ())
    async with house.phone(ALICE) as phone, house.phone(BOB) as one, house.phone(BOB) as two:
        watch = await phone.subscribe(str(ALICE), event="presence.winfo", Accept=ACCEPT)
        (contact,) = rows(await watch.state("active"))
        assert (contact["status"], contact["display-name"]) == ("active", "Bob & sons")
        assert "expiration" not in contact
        first = await one.subscribe(str(ALICE), expires=100)
        told = {row["id"]: row for row in rows(await watch.state("active"))}
        assert told.pop(contact["id"])["status"] == "terminated"
        (live,) = told.values()
        assert (live["status"], live["expiration"] in ("99", "100")) == ("active", True)
        assert int(live["duration-subscribed"]) <= 2
        await two.subscribe(str(ALICE))
        (second,) = rows(await watch.state("active"))
        assert second["id"] not in (live["id"], contact["id"])
        assert (await first.end()).status == 200
        (gone,) = rows(await watch.state("active"))
        assert (gone["id"], gone["status"], gone["event"]) == (live["id"], "terminated", "timeout")


async def test_who_takes_a_request_back_gave_up_and_was_not_rejected(house: House) -> None:
    await house.desk(ALICE)
    await house.other.act(BOB, ALICE, Act.SUBSCRIBE)
    await house.befriend(ALICE, CAROL)
    async with house.phone(ALICE) as phone:
        watch = await phone.subscribe(str(ALICE), event="presence.winfo", Accept=ACCEPT)
        await watch.state("active")
        await house.other.act(BOB, ALICE, Act.UNSUBSCRIBE)
        assert told(await watch.state("active"))[2] == {"bob": ("terminated", "giveup")}
        await house.other.act(CAROL, ALICE, Act.UNSUBSCRIBE)
        assert told(await watch.state("active"))[2] == {"carol": ("terminated", "timeout")}


async def test_a_phone_that_does_not_wait_for_the_answer_leaves_its_request_waiting(house: House) -> None:
    await house.desk(ALICE)
    async with house.phone(ALICE) as phone, house.phone(BOB) as asker:
        watch = await phone.subscribe(str(ALICE), event="presence.winfo", Accept=ACCEPT)
        await watch.state("active")
        asked = await asker.subscribe(str(ALICE))
        notify = await watch.notified("bob asks", lambda n: "bob" in n.text)
        assert told(notify)[2]["bob"] == ("pending", "subscribe")
        await asked.end()
        notify = await watch.notified("bob waits", lambda n: "waiting" in n.text)
        assert {row["status"] for row in rows(notify)} == {"terminated", "waiting"}
        await house.other.act(ALICE, BOB, Act.SUBSCRIBED)
        assert told(await watch.state("active"))[2] == {"bob": ("active", "approved")}
