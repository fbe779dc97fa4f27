"""Subscriptions (RFC 6665, RFC 3856), as a watching phone lives them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from presence.model import Person, PresenceDocument, PresenceTuple, Show, Text
from presence.ports import AccountChanged
from presence.subscriptions import Act
from sip.fitting import smaller
from sip.pacing import GONE
from sip.pidf import render_pidf
from tests.sip.house import ALICE, BOB, CAROL, PASSWORD, House, open_house
from tests.support.pidf import read_pidf
from tests.support.sipclient import Phone
from tests.support.sipwire import SipMessage


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with open_house(tmp_path) as opened:
        yield opened


HER = "alice@example.org"


async def test_a_stranger_waits_hears_nothing_and_is_told_at_once_when_approved(house: House) -> None:
    await house.desk(ALICE, notes=(Text("secret"),))
    async with house.phone(BOB) as phone:
        watch = await phone.subscribe(HER)
        assert watch.response.status == 200
        pending = await watch.state("pending")
        assert pending.body == b""
        await house.desk(ALICE, notes=(Text("another secret"),))
        await house.other.act(ALICE, BOB, Act.SUBSCRIBED)
        active = await watch.state("active")
        assert "another secret" in active.text
        assert len(watch.notifies.history) == 2


@pytest.mark.parametrize("befriended", [False, True])
async def test_a_denial_and_a_cancellation_end_it_without_a_word_more(house: House, befriended: bool) -> None:
    if befriended:
        await house.befriend(ALICE, BOB)
    await house.desk(ALICE)
    async with house.phone(BOB) as phone:
        watch = await phone.subscribe(HER)
        await watch.state("active" if befriended else "pending")
        await house.other.act(ALICE, BOB, Act.UNSUBSCRIBED)
        ended = await watch.state("terminated;reason=rejected")
        assert ended.body == b""
        assert (await watch.refresh()).status == 481


async def test_show_status_and_every_resource_are_followed(house: House) -> None:
    await house.befriend(ALICE, BOB)
    async with house.phone(BOB) as phone:
        watch = await phone.subscribe(HER)
        assert not any(seen.open for seen in read_pidf((await watch.state("active")).body))
        await house.desk(ALICE, show=Show.AWAY, notes=(Text("lunch", "en"),), priority=5)
        notify = await watch.state("active")
        (seen,) = read_pidf(notify.body)
        assert (seen.id, seen.open, seen.show, seen.notes) == ("ID-desk", True, "away", ("lunch",))
        assert notify["Content-Language"] == "en"
        await house.desk(ALICE, name="mobile")
        both = await watch.state("active")
        assert {s.id for s in read_pidf(both.body)} == {"ID-desk", "ID-mobile"}
        numbers = [n.cseq[0] for n in watch.notifies.history]
        assert numbers == sorted(set(numbers))


async def test_changes_within_the_interval_are_gathered_and_the_last_is_delivered(tmp_path: Path) -> None:
    async with open_house(tmp_path, notify_interval=0.3) as house:
        await house.befriend(ALICE, BOB)
        async with house.phone(BOB) as phone:
            watch = await phone.subscribe(HER)
            await watch.state("active")
            for number in range(10):
                await house.desk(ALICE, notes=(Text(f"state {number}"),))
            assert "state 9" in (await watch.state("active")).text
            assert len(watch.notifies.history) == 2


async def test_one_notify_is_outstanding(house: House) -> None:
    await house.befriend(ALICE, BOB)
    async with house.phone(BOB) as phone:
        watch = await phone.subscribe(HER)
        await watch.state("active")
        phone.answers["NOTIFY"] = None
        await house.desk(ALICE, notes=(Text("first"),))
        unanswered = await watch.state("active")
        for number in range(5):
            await house.desk(ALICE, notes=(Text(f"more {number}"),))
        await phone.request("OPTIONS", "sip:example.org")
        assert len(watch.notifies.history) == 2
        phone.answers.pop("NOTIFY")
        phone._answered.clear()  # the retransmission is answered now
        await watch.notified("the same again", lambda n: n.cseq == unanswered.cseq)
        assert "more 4" in (await watch.state("active")).text


async def test_a_fetch_is_one_notify_and_asks_nobody(house: House) -> None:
    await house.befriend(ALICE, BOB)
    await house.desk(ALICE)
    async with house.phone(BOB) as phone, house.phone(CAROL) as stranger:
        watch = await phone.subscribe(HER, expires=0)
        assert watch.response["Expires"] == "0"
        assert "ID-desk" in (await watch.state("terminated;reason=timeout")).text
        blind = await stranger.subscribe(HER, expires=0)
        assert (await blind.state("terminated;reason=timeout")).body == b""
        assert not (await house.store.item(ALICE, CAROL)).pending_in


async def test_a_refresh_is_answered_and_notified(house: House) -> None:
    await house.befriend(ALICE, BOB)
    async with house.phone(BOB) as phone:
        watch = await phone.subscribe(HER, expires=60)
        await watch.state("active")
        again = await watch.refresh(120)
        assert (again.status, again["Expires"]) == (200, "120")
        assert "expires=120" in (await watch.state("active"))["Subscription-State"]


async def test_it_expires_with_a_last_word(house: House) -> None:
    await house.befriend(ALICE, BOB)
    async with house.phone(BOB) as phone:
        watch = await phone.subscribe(HER, expires=2)
        await watch.state("active")
        await watch.state("terminated;reason=timeout")
        assert await house.bus.records("sip-1") == {}


@pytest.mark.parametrize("status", [481, 404, 603])
async def test_a_notify_refused_for_good_ends_it(house: House, status: int) -> None:
    await house.befriend(ALICE, BOB)
    async with house.phone(BOB) as phone:
        phone.answers["NOTIFY"] = (status, "No")
        watch = await phone.subscribe(HER)
        await watch.state("active")
        phone.answers.pop("NOTIFY")
        assert (await watch.refresh()).status == (481 if status in GONE else 200)


@pytest.mark.parametrize(
    ("to", "extra", "status", "named"),
    [
        (HER, {"Event": "no-such-package"}, 489, "Allow-Events"),
        (HER, {"Expires": "1"}, 423, "Min-Expires"),
        (HER, {"Accept": "application/xml"}, 406, "Accept"),
        (HER, {"Require": "no-such-option"}, 420, "Unsupported"),
        (HER, {"Require": "recipient-list-subscribe"}, 400, "CSeq"),
        ("nobody@example.org", {}, 404, "CSeq"),
        ("alice@elsewhere.example", {}, 404, "CSeq"),
    ],
)
async def test_refusals(house: House, to: str, extra: dict[str, str], status: int, named: str) -> None:
    async with house.phone(BOB) as phone:
        headers = {"Event": "presence", "Expires": "60", "Contact": phone.contact} | extra
        response = await phone.request("SUBSCRIBE", f"sip:{to}", list(headers.items()))
        assert response.status == status
        assert response[named]


async def test_no_event_is_489_and_sips_is_416(house: House) -> None:
    async with house.phone(BOB) as phone:
        contact = [("Contact", phone.contact)]
        assert (await phone.request("SUBSCRIBE", f"sip:{HER}", contact)).status == 489
        event = [*contact, ("Event", "presence")]
        assert (await phone.request("SUBSCRIBE", f"sips:{HER}", event)).status == 416


async def test_somebody_else_cannot_use_a_dialog(house: House) -> None:
    await house.befriend(ALICE, BOB)
    async with house.phone(BOB) as phone, house.phone(CAROL) as thief:
        watch = await phone.subscribe(HER)
        await watch.state("active")
        stolen = SipMessage("", [("From", watch.local.replace("bob", "carol")), ("To", watch.remote)])
        headers = [("Event", "presence"), ("Expires", "0"), ("Contact", thief.contact)]
        response = await thief.request(
            "SUBSCRIBE", watch.target, headers, from_=stolen["From"], to=stolen["To"]
        )
        assert response.status == 481
        assert (await watch.refresh()).status == 200


async def test_there_is_room_for_so_many(tmp_path: Path) -> None:
    async with open_house(tmp_path, max_dialogs=2) as house, house.phone(BOB) as phone:
        watches = [await phone.subscribe(HER) for _ in range(3)]
        assert [w.response.status for w in watches] == [200, 200, 500]
        assert watches[2].response["Retry-After"]


async def test_over_udp_it_goes_on_in_the_next_process(house: House) -> None:
    await house.befriend(ALICE, BOB)
    await house.desk(ALICE)
    async with house.phone(BOB) as phone:
        watch = await phone.subscribe(HER)
        before = await watch.state("active")
        await house.stop()
        await house.desk(ALICE, notes=(Text("while you were away"),))
        await house.start()
        after = await watch.state("active")
        assert "while you were away" in after.text
        assert after.cseq[0] > before.cseq[0]
        assert (await watch.refresh()).status == 200
        assert (await watch.end()).status == 200


async def test_what_was_cancelled_while_the_process_was_down_ends(house: House) -> None:
    await house.befriend(ALICE, BOB)
    async with house.phone(BOB) as phone:
        watch = await phone.subscribe(HER)
        await watch.state("active")
        await house.stop()
        await house.other.act(ALICE, BOB, Act.UNSUBSCRIBED)
        await house.start()
        assert (await watch.state("terminated;reason=rejected")).body == b""


class Unreachable(Phone):
    """Writes an address nobody can reach, as some phones do."""

    @property
    def contact(self) -> str:
        return "<sip:bob@192.0.2.2:5060;transport=tcp>"


async def test_a_phone_that_lost_its_connection_is_notified_on_the_next_one(house: House) -> None:
    await house.befriend(ALICE, BOB)
    async with Unreachable(str(BOB), PASSWORD, ("127.0.0.1", house.ports["tcp"]), "tcp") as phone:
        await phone.register()
        watch = await phone.subscribe(HER)
        await watch.state("active")
        phone.close()
        await house.until_seen(BOB, online=False)
        await house.desk(ALICE, notes=(Text("meanwhile"),))
        await phone.connect()
        await phone.register()
        await watch.notified("meanwhile", lambda n: "meanwhile" in n.text)


async def test_an_account_that_is_gone_leaves_no_dialogs(house: House) -> None:
    await house.befriend(ALICE, BOB)
    async with house.phone(BOB) as phone:
        watch = await phone.subscribe(HER)
        await watch.state("active")
        await house.bus.broadcast(AccountChanged(address=ALICE, gone=True))
        await watch.state("terminated;reason=noresource")


async def test_a_new_password_ends_what_began_with_the_old_one(house: House) -> None:
    await house.befriend(ALICE, BOB)
    await house.desk(ALICE)
    async with house.phone(BOB) as phone:
        await phone.register()
        watch = await phone.subscribe(HER)
        await watch.state("active")
        await house.bus.broadcast(AccountChanged(address=BOB))
        await house.bus.broadcast(AccountChanged(address=BOB, renewed=True))
        await watch.state("terminated;reason=rejected")
        assert house.door is not None
        assert house.door.sessions() == []


async def test_who_watches_somebody_with_a_new_password_goes_on(house: House) -> None:
    await house.befriend(ALICE, BOB)
    await house.befriend(ALICE, CAROL)
    async with house.phone(BOB) as phone, house.phone(ALICE) as hers:
        watch, own = await phone.subscribe(HER), await hers.subscribe(str(CAROL))
        await watch.state("active")
        await own.state("active")
        await house.other.change_password(ALICE, "another")
        await own.state("terminated;reason=rejected")
        await house.desk(ALICE, notes=(Text("still here"),))
        await watch.notified("still here", lambda n: "still here" in n.text)


async def test_the_phone_of_an_account_that_is_gone_hears_that_it_watches_nobody(
    house: House,
) -> None:
    await house.befriend(ALICE, BOB)
    await house.desk(ALICE)
    async with house.phone(BOB) as phone:
        watch = await phone.subscribe(HER)
        await watch.state("active")
        await house.bus.broadcast(AccountChanged(address=BOB, gone=True))
        assert (await watch.state("terminated;reason=rejected")).body == b""
        assert (await watch.refresh()).status == 481
        assert house.door is not None
        assert house.door.sessions() == []


async def test_a_request_denied_while_the_process_was_down_ends(house: House) -> None:
    await house.desk(ALICE)
    async with house.phone(BOB) as phone:
        watch = await phone.subscribe(HER)
        await watch.state("pending")
        await house.stop()
        await house.other.act(ALICE, BOB, Act.UNSUBSCRIBED)
        await house.start()
        assert (await watch.state("terminated;reason=rejected")).body == b""


async def test_a_request_nobody_answered_while_the_process_was_down_goes_on_waiting(house: House) -> None:
    await house.desk(ALICE)
    async with house.phone(BOB) as phone:
        watch = await phone.subscribe(HER)
        await watch.state("pending")
        await house.stop()
        await house.start()
        await watch.state("pending")


# --- packets (RFC 3261 §18.1.1) -------------------------------------------------------------------


async def crowd(house: House, note: str) -> None:
    for number in range(9):
        await house.desk(ALICE, name=f"desk-{number}", priority=number, notes=(Text(note),))


async def test_what_does_not_fit_a_packet_says_less_and_never_more_than_fits(house: House) -> None:
    await house.befriend(ALICE, BOB)
    await crowd(house, "n" * 300)
    async with house.phone(BOB) as phone:
        watch = await phone.subscribe(HER)
        notify = await watch.state("active")
        assert len(notify.encode()) <= 1300
        assert read_pidf(notify.body)[0].id == "ID-desk-8"
        assert house.metrics.counts["sip_notifications_cut_total"] == 1


async def test_what_does_not_fit_a_packet_takes_the_phones_connection(house: House) -> None:
    await house.befriend(ALICE, BOB)
    async with house.phone(BOB) as phone, house.phone(BOB, "tcp") as stream:
        await phone.register(contact=f'{phone.contact};+sip.instance="<urn:uuid:1>"')
        await stream.register(contact=f'{stream.contact};+sip.instance="<urn:uuid:1>"')
        watch = await phone.subscribe(HER)
        await watch.state("active")
        stream._watches = phone._watches
        await crowd(house, "n" * 300)
        notify = await watch.notified("all of it", lambda n: len(read_pidf(n.body)) == 9)
        assert "TCP" in notify["Via"]
        assert "transport=tcp" in notify["Contact"]


def test_ever_smaller_documents_end_with_what_always_fits() -> None:
    tuples = tuple(PresenceTuple(id="r" * 60 + str(n), notes=(Text("x" * 1000),) * 3) for n in range(16))
    document = PresenceDocument(
        address=ALICE, version=1, tuples=tuples, person=Person(notes=(Text("y" * 1000),))
    )
    sizes = [len(render_pidf(each)) for each in smaller(document)]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] < 500


async def test_what_a_subscription_makes_us_remember_is_bounded(house: House) -> None:
    async with house.phone(BOB, "tcp") as phone:
        long = ", ".join(f"<sip:p{number}.example.org;lr>" for number in range(250))
        assert (await phone.subscribe(str(ALICE), Record_Route=long)).response.status == 513
        assert (
            await phone.subscribe(str(ALICE), Record_Route=long[:300].rpartition(",")[0])
        ).response.status == 200
