"""Several flows of one phone (RFC 5626): one of them carries each message, the next one when that fails."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.sip.house import ALICE, BOB, House, open_house
from tests.support.inbox import PATIENCE
from tests.support.sipclient import Phone, SilentServer
from tests.support.sipwire import SipMessage
from tests.support.waiting import until

SUPPORTED: dict[str, Any] = {"Supported": "path, outbound"}


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with open_house(tmp_path) as opened:
        yield opened


def contact(reg_id: int, transport: str = "tcp") -> str:
    return f'<sip:bob@127.0.0.1;transport={transport};ob>;reg-id={reg_id};+sip.instance="<urn:uuid:1>"'


async def register(phone: Phone, reg_id: int, **options: Any) -> SipMessage:
    answer = await phone.register(contact=contact(reg_id, phone.transport), **{**SUPPORTED, **options})
    assert answer.status == 200
    return answer


async def bindings(phone: Phone) -> list[str]:
    """What is registered, by a REGISTER that changes nothing."""
    answer = await phone.request("REGISTER", "sip:example.org", to=f"<sip:{BOB}>")
    assert answer.status == 200
    return answer.all("Contact")


def messages(phone: Phone) -> list[str]:
    return [request.text for request in phone.requests.matching(lambda r: r.method == "MESSAGE")]


async def test_of_two_flows_one_carries_each_message_and_the_phone_is_one(house: House) -> None:
    async with house.phone(BOB, "tcp") as one, house.phone(BOB, "tcp") as two:
        first = await register(one, 1)
        assert first["Require"] == "outbound"
        assert len((await register(two, 2)).all("Contact")) == 2
        assert len((await house.seen(BOB)).tuples) == 1
        for text in ("first", "second"):
            await house.say(ALICE, BOB, text)
            await one.hears(text)
        await two.request("OPTIONS", "sip:example.org")
        assert messages(two) == []


async def test_when_a_flow_breaks_the_other_takes_over_and_the_phone_stays(house: House) -> None:
    async with house.phone(BOB, "tcp") as one, house.phone(BOB, "ws") as two:
        await register(one, 1)
        await register(two, 2)
        one.answers["MESSAGE"] = None
        await house.say(ALICE, BOB, "under way")
        await one.hears("under way")
        one.close()
        await two.hears("under way")
        await house.say(ALICE, BOB, "afterwards")
        await two.hears("afterwards")
        assert (await house.seen(BOB)).online
        assert len(await bindings(two)) == 1
        two.close()
        await house.until_seen(BOB, online=False)


@pytest.mark.parametrize(("status", "left"), [(430, [2]), (408, [1, 2]), (477, [1, 2])])
async def test_a_failure_of_the_flow_is_not_the_phones(house: House, status: int, left: list[int]) -> None:
    async with house.phone(BOB, "tcp") as one, house.phone(BOB, "tcp") as two:
        await register(one, 1)
        await register(two, 2)
        one.answers["MESSAGE"] = (status, "No")
        await house.say(ALICE, BOB, "one way or another")
        await one.hears("one way or another")
        await two.hears("one way or another")

        async def as_expected() -> bool:
            listed = await bindings(two)
            return [n for n in (1, 2) if any(f";reg-id={n};" in each for each in listed)] == left

        await until(f"flows {left}", as_expected, PATIENCE)
        await house.say(ALICE, BOB, "from now on there")
        await two.hears("from now on there")
        assert messages(one) == ["one way or another"]


@pytest.mark.parametrize("status", [480, 486, 603])
async def test_an_answer_of_the_phone_is_final_on_all_its_flows(house: House, status: int) -> None:
    async with house.phone(BOB, "tcp") as one, house.phone(BOB, "tcp") as two:
        await register(one, 1)
        await register(two, 2)
        one.answers["MESSAGE"] = (status, "No")
        await house.say(ALICE, BOB, "may I?")
        await one.hears("may I?")
        await one.request("OPTIONS", "sip:example.org")
        await two.request("OPTIONS", "sip:example.org")
        assert messages(two) == []


async def test_no_flow_left_and_the_message_waits_for_the_phone(house: House) -> None:
    async with house.phone(BOB, "tcp") as one, house.phone(BOB, "tcp") as two:
        await register(one, 1)
        await register(two, 2)
        for phone in (one, two):
            phone.answers["MESSAGE"] = (430, "Flow Failed")
        await house.say(ALICE, BOB, "nobody home")
        await one.hears("nobody home")
        await two.hears("nobody home")
        await house.until_seen(BOB, online=False)
    async with house.phone(BOB) as back:
        await register(back, 1)
        await back.hears("nobody home")


async def test_what_it_watches_is_told_over_the_other_flow(house: House) -> None:
    await house.befriend(ALICE, BOB)
    await house.desk(ALICE)
    async with house.phone(BOB, "tcp") as one, house.phone(BOB, "tcp") as two:
        await register(one, 1)
        await register(two, 2)
        watch = await one.subscribe(str(ALICE), contact="<sip:bob@127.0.0.1;transport=tcp;ob>")
        await watch.state("active")
        one.close()
        notified = await two.received("NOTIFY")
        assert notified["Call-ID"] == watch.call_id


# --- keeping flows alive ------------------------------------------------------------------------------


@pytest.mark.parametrize(("transport", "told"), [("tcp", "120"), ("tls", "120"), ("udp", ""), ("ws", "")])
async def test_how_often_to_say_that_it_is_there(house: House, transport: str, told: str) -> None:
    async with house.phone(BOB, transport) as phone:
        assert (await register(phone, 1)).get("Flow-Timer") == told
        assert (await register(phone, 1, Supported="path")).get("Require") == ""


async def test_a_flow_that_falls_silent_is_closed_and_one_that_promised_nothing_is_not(house: House) -> None:
    async with house.phone(BOB, "tcp") as one, house.phone(BOB, "tcp") as plain:
        await register(one, 1)
        await plain.register()
        assert house.door is not None
        listener, server = house.door._listener, house.door._server
        assert listener is not None
        assert server is not None
        for seconds, alive in ((170, True), (20, False)):
            for _, connection in listener.connections():
                connection.heard -= seconds
            listener.close_idle(server.patience)
            if not alive:
                with pytest.raises(SilentServer):
                    await one.request("OPTIONS", "sip:example.org", patience=5)
            assert (await plain.request("OPTIONS", "sip:example.org")).status == 200


async def test_it_may_be_required_and_a_first_hop_without_it_is_439(house: House) -> None:
    async with house.phone(BOB, "tcp") as phone:
        assert (await register(phone, 1, Require="outbound, gruu, path")).status == 200
        refused = await phone.register(
            contact=contact(1), Via="SIP/2.0/TCP 10.0.0.9;branch=z9hG4bKx", **SUPPORTED
        )
        assert refused.status == 439


async def test_proxies_to_go_through_are_told(tmp_path: Path) -> None:
    routes = ("sip:edge.example.org;lr", "sip:core.example.org;lr")
    async with open_house(tmp_path, service_route=routes) as house, house.phone(BOB) as phone:
        answer = await phone.register()
        assert answer.all("Service-Route") == [f"<{route}>" for route in routes]


# --- two processes ----------------------------------------------------------------------------------------


async def test_flows_may_end_in_two_processes_and_either_may_fail(house: House) -> None:
    other = House(house.store, house.accounts, house.bus, house.folder, node="sip-2")
    await other.start()
    try:
        async with house.phone(BOB, "tcp") as one, other.phone(BOB, "tcp") as two:
            await register(one, 1)
            await register(two, 2)
            await house.say(ALICE, BOB, "here")
            await one.hears("here")
            one.close()

            async def moved() -> bool:
                return len(await bindings(two)) == 1

            await until("the broken flow is forgotten", moved, PATIENCE)
            await house.say(ALICE, BOB, "there")
            await two.hears("there")
            assert (await house.seen(BOB)).online
    finally:
        await other.stop()


async def test_a_process_that_died_with_one_flow_leaves_the_other(house: House) -> None:
    other = House(house.store, house.accounts, house.bus, house.folder, node="sip-2")
    await other.start()
    try:
        async with house.phone(BOB, "tcp") as one, other.phone(BOB, "tcp") as two:
            await register(one, 1)
            await register(two, 2)
            await house.stop()
            await house.start()
            assert (await house.seen(BOB)).online
            await other.say(ALICE, BOB, "are you still there?")
            await two.hears("are you still there?")
            assert len(await bindings(two)) == 1
    finally:
        await other.stop()
