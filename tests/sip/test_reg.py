"""Which phones are registered, told to who may know (RFC 3680)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.sip.house import ALICE, BOB, CAROL, House, open_house
from tests.support.sipclient import Phone, Watch
from tests.support.sipwire import SipMessage

NS = "{urn:ietf:params:xml:ns:reginfo}"
ACCEPT = "application/reginfo+xml"


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with open_house(tmp_path, registration_watchers=(str(ALICE),)) as opened:
        yield opened


def told(notify: SipMessage) -> tuple[int, str, str, list[tuple[str, str, str]]]:
    """Version, completeness, state of the registration, and of each contact state, event, URI."""
    assert notify["Content-Type"] == ACCEPT
    root = ElementTree.fromstring(notify.body)
    (registration,) = root
    assert registration.get("aor") == f"sip:{BOB}"
    contacts = [(c.get("state", ""), c.get("event", ""), c.findtext(f"{NS}uri", "")) for c in registration]
    return int(root.get("version", "-1")), root.get("state", ""), registration.get("state", ""), contacts


async def follow(phone: Phone, expires: int = 600) -> Watch:
    return await phone.subscribe(str(BOB), event="reg", expires=expires, Accept=ACCEPT)


def uri(phone: Phone) -> str:
    return phone.contact.strip("<>")


async def test_phones_that_come_and_go_are_told_of_in_order(house: House) -> None:
    async with house.phone(BOB) as phone, house.phone(BOB) as second:
        watch = await follow(phone)
        assert watch.response.status == 200
        assert told(await watch.state("active")) == (0, "full", "init", [])
        await phone.register()
        here = ("active", "registered", uri(phone))
        assert told(await watch.state("active")) == (1, "partial", "active", [here])
        await second.register()
        there = ("active", "registered", uri(second))
        assert told(await watch.state("active")) == (2, "partial", "active", [there])
        await second.unregister()
        gone = ("terminated", "unregistered", uri(second))
        assert told(await watch.state("active")) == (3, "partial", "active", [gone])
        await phone.register()
        await watch.refresh()
        again = ("active", "refreshed", uri(phone))
        assert told(await watch.state("active")) == (4, "full", "active", [again])
        await phone.unregister()
        gone = ("terminated", "unregistered", uri(phone))
        assert told(await watch.state("active")) == (5, "partial", "terminated", [gone])


async def test_one_that_is_not_refreshed_has_expired(house: House) -> None:
    async with house.phone(BOB) as phone:
        await phone.register(expires=2)
        watch = await follow(phone)
        await watch.state("active")
        assert told(await watch.state("active", 15))[3] == [("terminated", "expired", uri(phone))]


async def test_another_contact_of_the_same_phone_is_a_registration_of_its_own(house: House) -> None:
    async with house.phone(BOB, "tcp") as phone:
        instance = '+sip.instance="<urn:uuid:1>"'
        await phone.register(contact=f"<sip:bob@192.0.2.1>;{instance}")
        watch = await follow(phone)
        notify = await watch.state("active")
        assert '<unknown-param name="+sip.instance">&quot;&lt;urn:uuid:1&gt;&quot;' in notify.text
        await phone.register(contact=f"<sip:bob@192.0.2.2>;{instance}")
        changed = told(await watch.state("active"))[3]
        assert sorted(changed) == [
            ("active", "registered", "sip:bob@192.0.2.2"),
            ("terminated", "unregistered", "sip:bob@192.0.2.1"),
        ]


async def test_another_flow_of_a_registered_phone_is_told_of_at_once(house: House) -> None:
    def contact(number: int) -> str:
        return f'<sip:bob@192.0.2.{number};ob>;reg-id={number};+sip.instance="<urn:uuid:1>"'

    async with house.phone(BOB, "tcp") as one, house.phone(BOB, "tcp") as two:
        await one.register(contact=contact(1), Supported="path, outbound")
        watch = await follow(one)
        await watch.state("active")
        await two.register(contact=contact(2), Supported="path, outbound")
        assert told(await watch.state("active"))[3] == [("active", "registered", "sip:bob@192.0.2.2;ob")]
        two.close()
        gone = ("terminated", "unregistered", "sip:bob@192.0.2.2;ob")
        assert told(await watch.state("active"))[3] == [gone]


async def test_who_is_trusted_follows_everybody_and_nobody_else_does(house: House) -> None:
    async with house.phone(BOB) as phone, house.phone(ALICE) as trusted, house.phone(CAROL) as other:
        await phone.register()
        watch = await follow(trusted)
        assert [event for _, event, _ in told(await watch.state("active"))[3]] == ["registered"]
        assert not (await house.store.item(BOB, ALICE)).pending_in
        assert (await follow(other)).response.status == 403
        nobody = await trusted.subscribe("nobody@example.org", event="reg", Accept=ACCEPT)
        assert nobody.response.status == 404


async def test_a_fetch_is_the_full_state_and_publishing_is_refused(house: House) -> None:
    async with house.phone(BOB) as phone:
        await phone.register()
        watch = await follow(phone, expires=0)
        assert told(await watch.state("terminated;reason=timeout"))[1] == "full"
        headers = [("Event", "reg"), ("Content-Type", ACCEPT), ("Expires", "60")]
        assert (await phone.request("PUBLISH", f"sip:{BOB}", headers, b"<reginfo/>")).status == 489


async def test_the_gruu_of_a_phone_that_has_one_is_told(house: House) -> None:
    async with house.phone(BOB) as phone:
        await phone.register(contact=f'{phone.contact};+sip.instance="<urn:uuid:1>"')
        watch = await follow(phone)
        root = ElementTree.fromstring((await watch.state("active")).body)
        (found,) = root.iter("{urn:ietf:params:xml:ns:gruuinfo}pub-gruu")
        assert found.get("uri") == f"sip:{BOB};gr=urn:uuid:1"
