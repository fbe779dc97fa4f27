"""What becomes of a NOTIFY that was not accepted (RFC 6665 §4.2.2): no lamp dies of one lost packet, and none
is kept that is dead."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from presence.address import Address
from presence.model import PresenceDocument, PresenceTuple
from sip.dialog import Dialog
from sip.dialogs import Dialogs
from sip.flow import Flow
from sip.message import Request, respond
from sip.notification import Notifications
from sip.pacing import GONE, Pacing
from sip.packages import packages
from sip.runtime import Answer, Silence
from sip.settings import SipSettings
from sip.subscription import Subscription
from sip.uri import Uri
from tests.sip.house import ALICE, BOB, Tally

FLOW = Flow("udp", "0.0.0.0:5060", "192.0.2.7", 5060)


class Clock:
    """Implements `sip.runtime.Runtime`: time passes when the test says so."""

    def __init__(self) -> None:
        self.time = 1000.0
        self.timers: list[Alarm] = []

    def now(self) -> float:
        return self.time

    def call_later(self, delay: float, callback: Callable[[], None]) -> Alarm:
        alarm = Alarm(self, self.time + delay, callback)
        self.timers.append(alarm)
        return alarm

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        work.close()

    def skip(self) -> None:
        """To the next timer, if there is one."""
        if self.timers:
            self.run(min(alarm.at for alarm in self.timers))

    def run(self, until: float) -> None:
        while due := [alarm for alarm in self.timers if alarm.at <= until]:
            alarm = min(due, key=lambda each: each.at)
            self.timers.remove(alarm)
            self.time = max(self.time, alarm.at)
            alarm.callback()
        self.time = until


class Alarm:
    def __init__(self, clock: Clock, at: float, callback: Callable[[], None]) -> None:
        self.clock, self.at, self.callback = clock, at, callback

    def cancel(self) -> None:
        if self in self.clock.timers:
            self.clock.timers.remove(self)


class Wire:
    """Implements `sip.runtime.Sender`."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.sent: list[tuple[float, Request]] = []
        self._done: Callable[[Answer], None] | None = None

    def send(self, request: Request, flow: Flow, done: Callable[[Answer], None]) -> None:
        assert self._done is None, "one NOTIFY is outstanding"
        self.sent.append((self.clock.time, request))
        self._done = done

    def answer(self, status: int, *headers: tuple[str, str]) -> None:
        request = self.sent[-1][1]
        request.headers.put_first("Via", "SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1")
        self._settle(Answer(respond(request, status, headers=list(headers))))

    def silence(self, kind: Silence = Silence.TIMEOUT, after: float = 32.0) -> None:
        self.clock.run(self.clock.time + after)
        self._settle(Answer(None, kind))

    def _settle(self, answer: Answer) -> None:
        done, self._done = self._done, None
        assert done is not None, "nothing is outstanding"
        done(answer)

    def alive(self, flow: Flow) -> bool:
        return True

    def contact(self, flow: Flow) -> str:
        return "sip:192.0.2.1"


class NoPhones:
    """Implements `sip.notification.Phones`."""

    def stream_of(self, address: Address, flow: Flow) -> Flow | None:
        return None

    def contact_of(self, address: Address, target: Uri, flow: Flow) -> Uri:
        return target

    def connection_to(self, address: Address, target: Uri) -> Flow | None:
        return None


class Bench:
    """One active subscription, with everything around it in the test's hands."""

    def __init__(self, **settings: Any) -> None:
        given = SipSettings(**{"notify_interval": 5, "notify_patience": 120, **settings})
        self.clock = Clock()
        self.wire = Wire(self.clock)
        self.dialogs = Dialogs()
        self.document = state("first")
        metrics = Tally()
        notifications = Notifications(given, self.clock, self.wire, metrics, NoPhones())
        self.pacing = Pacing(
            given, self.clock, self.wire, metrics, self.dialogs, notifications,
            document_of=lambda subscription: self.document, forget=self.dialogs.remove,
            save=lambda subscription: None,
        )  # fmt: skip
        dialog = Dialog(
            call_id="c", local_tag="l", remote_tag="r", local_uri="sip:alice@example.org",
            remote_uri="sip:bob@example.org", remote_target="sip:bob@192.0.2.7",
        )  # fmt: skip
        self.subscription = Subscription(
            dialog=dialog, watcher=BOB, presentity=ALICE, package=packages()["presence"],
            event="presence", expires=self.clock.time + 3600, flow=FLOW, since=0.0,
        )  # fmt: skip
        self.subscription.active = True
        self.dialogs.add(self.subscription)
        self.pacing.start(self.subscription)

    def change(self, note: str) -> None:
        self.document = state(note)
        self.pacing.push(self.subscription)

    @property
    def alive(self) -> bool:
        return self.subscription in self.dialogs

    @property
    def said(self) -> list[tuple[float, str]]:
        """When, and the resource that was told of."""
        return [
            (at - 1000, text.partition('id="ID-')[2].partition('"')[0])
            for at, request in self.wire.sent
            if (text := request.body.decode())
        ]


def state(note: str) -> PresenceDocument:
    return PresenceDocument(address=ALICE, version=1, tuples=(PresenceTuple(id=note),))


def test_a_lost_notify_is_said_again_with_what_is_true_by_then() -> None:
    bench = Bench()
    bench.wire.silence()
    bench.change("second")
    assert bench.alive
    bench.clock.run(1040)
    assert bench.said == [(0, "first"), (37, "second")]
    bench.wire.answer(200)
    bench.clock.run(2000)
    assert len(bench.said) == 2
    assert bench.alive


def test_a_dead_phone_is_given_up_when_patience_is_over() -> None:
    bench = Bench()
    while bench.alive:
        bench.wire.silence()
        bench.clock.skip()
    assert [at for at, _ in bench.said] == [0, 37, 79, 131]


def test_without_patience_the_first_silence_ends_it() -> None:
    bench = Bench(notify_patience=0)
    bench.wire.silence()
    assert not bench.alive


@pytest.mark.parametrize("status", sorted(GONE))
def test_an_answer_that_knows_no_subscription_ends_it_at_once(status: int) -> None:
    bench = Bench()
    bench.wire.answer(status, ("Retry-After", "5"))
    assert not bench.alive


@pytest.mark.parametrize("status", [400, 403, 408, 486, 500, 503, 600])
def test_another_refusal_is_tried_again_for_a_while(status: int) -> None:
    bench = Bench()
    while bench.alive:
        bench.wire.answer(status)
        bench.clock.skip()
    assert [at for at, _ in bench.said] == [0, 5, 15, 35, 75]


def test_who_says_when_is_asked_then_and_not_before() -> None:
    bench = Bench()
    bench.wire.answer(503, ("Retry-After", "300 (busy)"))
    bench.change("second")
    bench.clock.run(1299)
    assert len(bench.said) == 1
    bench.clock.run(1301)
    assert bench.said[1] == (300, "second")


def test_who_wants_to_be_asked_after_it_has_expired_is_not_kept() -> None:
    bench = Bench()
    bench.wire.answer(503, ("Retry-After", "4000"))
    assert not bench.alive


def test_an_accepted_notify_makes_good_for_the_failed_ones_before() -> None:
    bench = Bench()
    for note in ("second", "third", "fourth", "fifth", "sixth"):
        bench.wire.silence()
        bench.clock.run(bench.clock.time + 10)
        bench.wire.answer(200)
        bench.clock.run(bench.clock.time + 10)
        bench.change(note)
    assert bench.alive


def test_five_seconds_lie_between_two_and_the_last_state_is_said() -> None:
    bench = Bench()
    bench.wire.answer(200)
    for second in range(1, 5):
        bench.clock.run(1000 + second)
        bench.change(f"state-{second}")
    bench.clock.run(1100)
    assert bench.said == [(0, "first"), (5, "state-4")]


def test_what_changed_back_meanwhile_is_not_said() -> None:
    bench = Bench()
    bench.wire.answer(200)
    bench.change("second")
    bench.change("first")
    bench.clock.run(1100)
    assert len(bench.said) == 1


def test_too_many_of_our_own_requests_are_no_failure_of_the_phone() -> None:
    bench = Bench(notify_patience=0)
    bench.wire.silence(Silence.BUSY, after=0)
    assert bench.alive
    bench.clock.run(1002)
    assert len(bench.said) == 2
