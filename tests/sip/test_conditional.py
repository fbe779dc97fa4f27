"""Conditional notification (RFC 5839): what a watcher has, it is not told again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from presence.model import Show, Text
from presence.subscriptions import Act
from sip.documents.dialog_info import CONTENT_TYPE
from tests.sip.house import ALICE, BOB, House, open_house
from tests.support.sipclient import Watch
from tests.support.sipwire import SipMessage

HER = str(ALICE)


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with open_house(tmp_path) as opened:
        await opened.befriend(ALICE, BOB)
        yield opened


def having(tag: str) -> dict[str, Any]:
    return {"Suppress-If-Match": tag}


async def refresh(watch: Watch, tag: str, expires: int = 600) -> SipMessage:
    watch.cseq += 1
    fields = [("Event", watch.event), ("Expires", str(expires)), ("Suppress-If-Match", tag)]
    response, watch.cseq = await watch.phone.request_in_dialog("SUBSCRIBE", watch, fields)
    return response


async def test_every_state_has_a_tag_of_its_own_and_the_same_state_the_same(house: House) -> None:
    async with house.phone(BOB) as phone, house.phone(BOB) as other:
        watch = await phone.subscribe(HER)
        nobody = (await watch.state("active"))["SIP-ETag"]
        await house.desk(ALICE)
        there = (await watch.state("active"))["SIP-ETag"]
        assert (await (await other.subscribe(HER)).state("active"))["SIP-ETag"] == there
        assert len({nobody, there, ""}) == 3


async def test_a_refresh_that_names_the_state_is_204_and_notifies_nothing_until_it_changes(
    house: House,
) -> None:
    async with house.phone(BOB) as phone:
        watch = await phone.subscribe(HER)
        tag = (await watch.state("active"))["SIP-ETag"]
        answer = await refresh(watch, tag, 120)
        assert (answer.status, answer["Expires"]) == (204, "120")
        await house.desk(ALICE, notes=(Text("here"),))
        notify = await watch.state("active")
        assert "here" in notify.text
        assert len(watch.notifies.history) == 2
        assert (await refresh(watch, tag)).status == 200
        assert (await watch.state("active")).body


async def test_a_subscription_is_resumed_with_a_notify_without_a_body(house: House) -> None:
    async with house.phone(BOB) as phone:
        tag = (await (await phone.subscribe(HER)).state("active"))["SIP-ETag"]
        watch = await phone.subscribe(HER, **having(tag))
        assert watch.response.status == 200
        notify = await watch.state("active")
        assert (notify.body, notify["SIP-ETag"], notify.get("Content-Type")) == (b"", tag, "")
        stale = await phone.subscribe(HER, **having("unknown"))
        assert (await stale.state("active")).body


async def test_a_poll_that_names_the_state_gets_no_body(house: House) -> None:
    async with house.phone(BOB) as phone:
        first = await (await phone.subscribe(HER, expires=0)).state("terminated")
        again = await phone.subscribe(HER, expires=0, **having(first["SIP-ETag"]))
        notify = await again.state("terminated")
        assert (notify.body, notify["SIP-ETag"]) == (b"", first["SIP-ETag"])


async def test_the_end_that_names_the_state_is_204_and_the_last_word(house: House) -> None:
    async with house.phone(BOB) as phone:
        watch = await phone.subscribe(HER)
        tag = (await watch.state("active"))["SIP-ETag"]
        assert (await refresh(watch, tag, 0)).status == 204
        assert (await watch.refresh()).status == 481
        assert len(watch.notifies.history) == 1


async def test_a_star_silences_it_but_for_its_own_state(house: House) -> None:
    async with house.phone(BOB) as phone:
        watch = await phone.subscribe(HER)
        await watch.state("active")
        assert (await refresh(watch, "*")).status == 204
        await house.desk(ALICE, notes=(Text("unheard"),))
        await house.other.act(ALICE, BOB, Act.UNSUBSCRIBED)
        assert (await watch.state("terminated;reason=rejected")).body == b""
        assert len(watch.notifies.history) == 2


async def test_the_condition_outlives_the_process(house: House) -> None:
    async with house.phone(BOB) as phone:
        watch = await phone.subscribe(HER)
        await watch.state("active")
        assert (await refresh(watch, "*")).status == 204
        await house.stop()
        await house.start()
        assert (await watch.state("active")).body == b""


async def test_numbered_documents_of_one_state_have_one_tag(house: House) -> None:
    async with house.phone(BOB) as phone:
        watch = await phone.subscribe(HER, event="dialog", Accept=CONTENT_TYPE)
        free = (await watch.state("active"))["SIP-ETag"]
        await house.desk(ALICE, show=Show.DND)
        busy = (await watch.state("active"))["SIP-ETag"]
        await house.desk(ALICE)
        assert (await watch.state("active"))["SIP-ETag"] == free != busy


async def test_a_lamp_is_not_told_what_it_cannot_show(house: House) -> None:
    async with house.phone(BOB) as phone:
        watch = await phone.subscribe(HER, event="dialog", Accept=CONTENT_TYPE)
        await watch.state("active")
        await house.desk(ALICE, notes=(Text("news"),))
        await house.desk(ALICE, show=Show.DND)
        notify = await watch.state("active")
        assert 'version="1"' in notify.text
        assert len(watch.notifies.history) == 2


async def test_what_was_cut_to_fit_a_packet_has_another_tag_that_holds_as_well(house: House) -> None:
    await house.desk(ALICE, notes=(Text("n" * 1000),) * 2)
    async with house.phone(BOB) as phone, house.phone(BOB, "tcp") as stream:
        whole = (await (await stream.subscribe(HER)).state("active"))["SIP-ETag"]
        watch = await phone.subscribe(HER)
        cut = (await watch.state("active"))["SIP-ETag"]
        assert cut != whole
        assert (await refresh(watch, cut)).status == 204


async def test_a_list_and_watcher_information_are_tagged_by_their_full_state(house: House) -> None:
    async with house.phone(BOB, "tcp") as phone:
        fields: dict[str, Any] = {"Supported": "eventlist", "Accept": "multipart/related"}
        watch = await phone.subscribe("buddies@example.org", **fields)
        first = (await watch.state("active"))["SIP-ETag"]
        assert (await refresh(watch, first)).status == 204
        await house.desk(ALICE)
        changed = await watch.state("active")
        assert changed["SIP-ETag"] != first
        assert 'fullState="true"' in changed.text
        winfo = await phone.subscribe(str(BOB), event="presence.winfo", Accept="application/watcherinfo+xml")
        tag = (await winfo.state("active"))["SIP-ETag"]
        assert (await refresh(winfo, tag)).status == 204
