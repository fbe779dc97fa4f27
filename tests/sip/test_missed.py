"""sip/missed.py: people are told of calls that nobody answered (RFC 4235 §3.7.1), in XMPP clients, once."""

from __future__ import annotations

import heapq
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from presence.address import Address
from presence.edge.accounts import AccountSettings, open_accounts
from presence.errors import Unavailable
from presence.memory import MemoryBus
from presence.messages import InstantMessage
from presence.model import Person, Source
from presence.ports import Accounts, Deliver, Endpoint, EndpointKind, Lease, SourceWrite, Update
from presence.service import PresenceService
from sip.calls import Call, parse_dialog_info
from sip.missed import _AT_ONCE, GRACE, PATIENCE, Log, MissedCalls, Turn, caller_of
from sip.runtime import Timer
from tests.sip.house import ALICE, BOB, CAROL, DOMAIN, Tally, people
from tests.support.stores import new_store

CALLER = f"sip:{CAROL}"
NOW = 1_700_000_000.0


def call(state: str, *, id: str = "c1", tag: str = "l", event: str = "", caller: str = CALLER) -> Call:
    """As a phone publishes it."""
    said = f' event="{event}"' if event else ""
    (found,) = parse_dialog_info(
        f'<dialog-info xmlns="urn:ietf:params:xml:ns:dialog-info" version="0" state="full"'
        f' entity="sip:{ALICE}"><dialog id="d" call-id="{id}" local-tag="{tag}" direction="recipient">'
        f"<state{said}>{state}</state><remote><identity display='Your bank'> {caller} </identity></remote>"
        "</dialog></dialog-info>".encode()
    ).calls
    return found


# --- what is said ---------------------------------------------------------------------------------------


def turns(*calls: Call) -> list[Turn]:
    log = Log()
    return [turn for each in calls for _, turn in log.heard(ALICE, [each], NOW)]


def test_a_call_that_rang_and_ended_is_over_once() -> None:
    early, over = call("early"), call("terminated", event="cancelled")
    assert turns(early, early, over, over, early) == [Turn.RANG, Turn.OVER]


@pytest.mark.parametrize("event", ["replaced", "local-bye", "remote-bye", "error"])
def test_what_only_ends_established_calls_tells_of_an_answer(event: str) -> None:
    assert turns(call("early"), call("terminated", event=event)) == [Turn.RANG, Turn.ANSWERED]


@pytest.mark.parametrize("event", ["", "cancelled", "rejected", "timeout"])
def test_what_ends_a_ringing_call_tells_of_none(event: str) -> None:
    assert turns(call("early"), call("terminated", event=event)) == [Turn.RANG, Turn.OVER]


def test_an_answer_at_another_phone_counts_for_all_branches() -> None:
    assert turns(call("early", tag="one"), call("terminated", tag="one"), call("confirmed", tag="two")) == [
        Turn.RANG,
        Turn.OVER,
        Turn.ANSWERED,
    ]


def test_calls_they_make_themselves_and_calls_without_a_name_are_nothing_to_miss() -> None:
    made = Call("d", "c l r", over=True, call_id="c")
    nameless = Call("d", "d", over=True, received=True)
    assert turns(made, nameless) == []


def test_of_very_many_calls_some_are_not_noticed() -> None:
    log = Log()
    flood = [call("early", id=f"c{number}") for number in range(_AT_ONCE * 3)]
    assert len(log.heard(ALICE, flood, NOW)) <= _AT_ONCE + 1
    assert len(log.heard(BOB, flood[:1], NOW)) == 1
    assert len(log.heard(ALICE, [call("early", id="later")], NOW + 3600.0)) == 1


@pytest.mark.parametrize(
    ("said", "uri", "address"),
    [
        ("sip:carol@example.org", "sip:carol@example.org", CAROL),
        ("sips:carol@example.org;transport=tls?Subject=x", "sip:carol@example.org", CAROL),
        ("sip:+4930123@gw.example:5080", "sip:+4930123@gw.example", Address("+4930123", "gw.example")),
        ("tel:+49-30-123;phone-context=x", "tel:+49-30-123", None),
        ("sip:anonymous@anonymous.invalid", "", None),
        ("sip:gw.example", "", None),
        ("http://evil.example/", "", None),
        ("sip:locked,see//evil.example@example.org", "", None),
        ("sip:locked%2fsee@example.org", "", None),
        (f"sip:{'your.account.is.locked.' * 6}@example.org", "", None),
        ("", "", None),
    ],
)
def test_only_an_address_of_the_caller_is_shown(said: str, uri: str, address: Address | None) -> None:
    """RFC 3323 §4.1.1.3 for who withholds it."""
    assert caller_of(said) == (uri, address)


# --- what is told ---------------------------------------------------------------------------------------


class Clock:
    """Time that passes when the test says so, for all processes; implements `sip.runtime.Runtime`."""

    def __init__(self) -> None:
        self.at = NOW
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._work: list[Coroutine[Any, Any, None]] = []
        self._count = 0

    def now(self) -> float:
        return self.at

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        self._work.append(work)

    def call_later(self, delay: float, callback: Callable[[], None]) -> Timer:
        self._count += 1
        heapq.heappush(self._due, (self.at + delay, self._count, callback))
        return self

    def cancel(self) -> None:
        raise NotImplementedError

    async def settle(self) -> None:
        while self._work:
            await self._work.pop(0)

    async def passes(self, seconds: float) -> None:
        end = self.at + seconds
        await self.settle()
        while self._due and self._due[0][0] <= end:
            self.at, _, callback = heapq.heappop(self._due)
            callback()
            await self.settle()
        self.at = end


class Flaky(MemoryBus):
    away = False

    async def lease(self, name: str, holder: str, seconds: float) -> bool:
        if self.away:
            raise Unavailable("away")
        return await super().lease(name, holder, seconds)


class Scene:
    """Alice, with an XMPP client, and processes that hear of her calls."""

    def __init__(self, accounts: Accounts, store: Any) -> None:
        self.clock = Clock()
        self.bus = Flaky(clock=self.clock.now)
        self.accounts = accounts
        self.store = store
        self.metrics = Tally()
        self.lives = 0
        self.service = self.serve("xmpp-1")

    def serve(self, node: str) -> PresenceService:
        self.lives += 1
        return PresenceService(
            node=node,
            incarnation=f"i{self.lives}",
            domains=frozenset({DOMAIN}),
            bus=self.bus,
            store=self.store,
            accounts=self.accounts,
            metrics=self.metrics,
            clock=self.clock.now,
        )

    def process(self, *, enabled: bool = True) -> MissedCalls:
        service = self.serve("sip-1")
        return MissedCalls(service, self.accounts, self.clock, self.metrics, enabled=enabled)

    async def desk(self, who: Address, kind: EndpointKind = EndpointKind.XMPP) -> None:
        endpoint = Endpoint(id=f"{kind}:here", kind=kind, node="xmpp-1", lease=Lease(owner="xmpp-1/i1"))
        await self.service.publish(who, Update(put_endpoints=(endpoint,)))

    async def rings(self, ringing: bool) -> None:
        """A phone of alice's, at whichever process."""
        source = Source(id="sip-pub:x", person=Person(ringing=True))
        write = SourceWrite(source=source, lease=Lease(expires=self.clock.at + 600))
        update = Update(put_sources=(write,)) if ringing else Update(drop_sources=(source.id,))
        await self.service.publish(ALICE, update)

    def told(self) -> list[InstantMessage]:
        found = [each for each in self.bus.drain("xmpp-1") if isinstance(each, Deliver)]
        assert all(each.endpoints == ("xmpp:here",) for each in found)
        return [each.message for each in found]


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    store = await new_store(tmp_path / "tandem.db", people)
    accounts = open_accounts(AccountSettings(), store)
    made = Scene(accounts, store)
    await made.desk(ALICE)
    await made.desk(ALICE, EndpointKind.SIP)
    made.bus.drain("xmpp-1")
    yield made
    await accounts.close()
    await store.close()


def says(process: MissedCalls, *calls: Call, whose: Address = ALICE) -> None:
    for each in calls:
        process.heard(whose, [each])


RANG_AND_ENDED = (call("early"), call("terminated", event="cancelled"))


async def test_a_missed_call_is_told_by_the_domain_in_clients_alone_and_archived(scene: Scene) -> None:
    says(scene.process(), *RANG_AND_ENDED)
    assert scene.told() == []
    await scene.clock.passes(60)
    (notice,) = scene.told()
    assert notice.bodies[0].text == f"Missed call from xmpp:{CAROL}"
    assert notice.sender == Address("", DOMAIN)
    assert (notice.created, notice.archived, notice.store) == (NOW, True, True)
    (filed,) = await scene.bus.unarchived(10, 0)
    assert CAROL.local.encode() in filed.message
    assert scene.metrics.counts["sip_missed_calls_total"] == 1


async def test_it_is_told_once_however_many_phones_and_processes_tell_of_it(scene: Scene) -> None:
    first, second = scene.process(), scene.process()
    for process in (first, second):
        for tag in ("one", "two"):
            says(process, call("early", tag=tag), call("terminated", tag=tag))
    await scene.clock.passes(60)
    assert len(scene.told()) == 1
    # Said again later, in a process that was started since and knows nothing.
    says(scene.process(), *RANG_AND_ENDED)
    await scene.clock.passes(60)
    says(first, *RANG_AND_ENDED, call("early", id="another"), call("terminated", id="another"))
    await scene.clock.passes(60)
    assert len(scene.told()) == 1


async def test_what_another_process_heard_answered_is_not_missed(scene: Scene) -> None:
    first, second = scene.process(), scene.process()
    says(first, call("early", tag="one"), call("terminated", tag="one", event="cancelled"))
    await scene.clock.passes(GRACE / 2)
    says(second, call("confirmed", tag="two"))
    await scene.clock.passes(60)
    says(second, call("terminated", tag="two"))
    await scene.clock.passes(60)
    assert scene.told() == []


async def test_the_calls_a_pbx_makes_to_each_phone_are_one(scene: Scene) -> None:
    first, second = scene.process(), scene.process()
    says(first, call("early", id="one"))
    says(second, call("early", id="two"))
    says(first, call("terminated", id="one"))
    await scene.clock.passes(0.5)
    says(second, call("terminated", id="two"))
    await scene.clock.passes(60)
    assert len(scene.told()) == 1
    says(first, call("early", id="three"), call("terminated", id="three"))
    await scene.clock.passes(60)
    assert len(scene.told()) == 1


async def test_what_was_answered_at_another_phone_of_a_pbx_is_not_missed(scene: Scene) -> None:
    first, second = scene.process(), scene.process()
    says(first, call("early", id="one"), call("early", id="x", caller="sip:x@gw.example"))
    says(second, call("early", id="two"))
    await scene.clock.passes(3)
    says(second, call("confirmed", id="two"))
    await scene.clock.passes(0.5)
    says(first, call("terminated", id="one", event="cancelled"), call("terminated", id="x"))
    await scene.clock.passes(1)
    assert scene.told() == []
    # She hangs up, and they try again at once: that is another call.
    says(second, call("early", id="again"), call("terminated", id="again"))
    await scene.clock.passes(60)
    assert [each.bodies[0].text for each in scene.told()] == [
        "Missed call from sip:x@gw.example",
        f"Missed call from xmpp:{CAROL}",
    ]


async def test_while_another_phone_rings_nothing_is_missed_yet(scene: Scene) -> None:
    first, second = scene.process(), scene.process()
    says(first, call("early", tag="one"), call("terminated", tag="one", event="rejected"))
    await scene.rings(True)
    await scene.clock.passes(40)
    assert scene.told() == []
    says(second, call("confirmed", tag="two"))
    await scene.rings(False)
    await scene.clock.passes(60)
    assert scene.told() == []


async def test_a_phone_that_rings_for_ever_holds_nothing_up(scene: Scene) -> None:
    says(scene.process(), *RANG_AND_ENDED)
    await scene.rings(True)
    await scene.clock.passes(PATIENCE / 2)
    assert scene.told() == []
    await scene.clock.passes(PATIENCE)
    assert len(scene.told()) == 1


async def test_a_process_started_while_it_rang_knows_that_it_rang(scene: Scene) -> None:
    says(scene.process(), call("early"))
    await scene.clock.passes(1)
    says(scene.process(), call("terminated"))
    await scene.clock.passes(60)
    assert len(scene.told()) == 1


async def test_what_never_rang_is_not_missed(scene: Scene) -> None:
    process = scene.process()
    says(process, call("terminated", event="cancelled"))
    await scene.clock.passes(60)
    says(process, call("terminated", event="cancelled"))
    await scene.clock.passes(60)
    assert scene.told() == []


async def test_the_name_they_gave_a_contact_is_shown_and_the_callers_own_is_not(scene: Scene) -> None:
    await scene.service.set_item(ALICE, CAROL, "Carol from\nwork", ())
    says(scene.process(), *RANG_AND_ENDED)
    says(scene.process(), *(call(s, id="2", caller="sip:1001@pbx.example") for s in ("early", "terminated")))
    says(scene.process(), *(call(s, id="3", caller=f"sip:1001@{DOMAIN}") for s in ("early", "terminated")))
    says(scene.process(), *(call(s, id="4", caller="sip:a@b.invalid") for s in ("early", "terminated")))
    await scene.clock.passes(60)
    assert [each.bodies[0].text for each in scene.told()] == [
        "Missed call from Carol from work: xmpp:carol@example.org",
        "Missed call from sip:1001@pbx.example",
        "Missed call from sip:1001@example.org",
        "Missed call from somebody unknown",
    ]


@pytest.mark.parametrize("blocked", [str(CAROL), DOMAIN])
async def test_who_blocks_the_caller_or_the_domain_hears_of_nothing(scene: Scene, blocked: str) -> None:
    await scene.service.blocking.block(ALICE, [blocked])
    says(scene.process(), *RANG_AND_ENDED)
    await scene.clock.passes(60)
    assert scene.told() == []


async def test_who_has_no_xmpp_client_has_nothing_waiting_for_one(scene: Scene) -> None:
    says(scene.process(), *RANG_AND_ENDED, whose=BOB)
    says(scene.process(), *RANG_AND_ENDED, whose=Address("nobody", DOMAIN))
    await scene.clock.passes(60)
    assert (await scene.bus.inspect(BOB, scene.clock.at))["pending"] == []


async def test_who_has_called_themselves_has_missed_nothing(scene: Scene) -> None:
    says(scene.process(), *(call(state, caller=f"sip:{ALICE}") for state in ("early", "terminated")))
    await scene.clock.passes(60)
    assert scene.told() == []


async def test_it_can_be_switched_off(scene: Scene) -> None:
    says(scene.process(enabled=False), *RANG_AND_ENDED)
    await scene.clock.passes(60)
    assert scene.told() == []


async def test_a_bus_that_was_away_is_told_later_and_once(scene: Scene) -> None:
    scene.bus.away = True
    says(scene.process(), *RANG_AND_ENDED)
    await scene.clock.passes(30)
    scene.bus.away = False
    await scene.clock.passes(60)
    assert len(scene.told()) == 1
