"""The state tables of RFC 3261 §17 (with RFC 6026 and RFC 4320), row by row. Timers are inputs.

A row is: what happens, at which second, and what must come out. `UDP` and `TCP` are the two kinds of flow.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from sip.errors import TooBusy
from sip.message import Request, Response, respond, serialise
from sip.parser import parse_message
from sip.transaction import (
    Acknowledged,
    Answered,
    Cancelled,
    Effect,
    Incoming,
    Key,
    Provisional,
    Send,
    Stray,
    TimedOut,
    Timers,
    TransactionLayer,
    TransportFailed,
)
from sip.uri import parse_uri

UDP, TCP = "udp:192.0.2.1", "tcp:192.0.2.1"


def make(
    method: str = "MESSAGE",
    branch: str = "z9hG4bK1",
    *extra: tuple[str, str],
    cseq: int = 1,
    to_tag: str = "",
) -> Request:
    via = f"SIP/2.0/UDP 192.0.2.1:5060;branch={branch}" if branch else "SIP/2.0/UDP 192.0.2.1:5060"
    headers = [
        ("Via", via),
        ("From", "<sip:alice@example.org>;tag=f"),
        ("To", "<sip:bob@example.org>" + (f";tag={to_tag}" if to_tag else "")),
        ("Call-ID", "c"),
        ("CSeq", f"{cseq} {method}"),
        *extra,
    ]
    return Request(method, parse_uri("sip:bob@example.org"), headers)


@dataclass
class Bench:
    """One layer with a clock; effects are told as short words."""

    reliable: bool = False
    limit: int = 100
    timers: Timers = field(default_factory=Timers)
    layer: TransactionLayer = field(init=False)
    now: float = 0.0

    def __post_init__(self) -> None:
        self.layer = TransactionLayer(self.timers, limit=self.limit)

    @property
    def flow(self) -> str:
        return TCP if self.reliable else UDP

    def receive(self, message: Request | Response, flow: str | None = None) -> list[Effect]:
        return self.layer.receive(message, flow or self.flow, self.reliable, self.now)

    def begin(self, request: Request) -> Key:
        (incoming,) = self.receive(request)
        assert isinstance(incoming, Incoming)
        return incoming.key

    def respond(self, key: Key, request: Request, status: int) -> list[Effect]:
        return self.layer.respond(key, respond(request, status), self.now)

    def send(self, request: Request) -> Key:
        key, effects = self.layer.send_request(request, self.flow, self.reliable, self.now)
        assert effects == [Send(self.flow, serialise(request))]
        return key

    def until(self, now: float) -> list[tuple[float, str]]:
        """Let time pass, as an edge with one timer would; (second, word) of everything that happens."""
        happened: list[tuple[float, str]] = []
        while (deadline := self.layer.next_deadline()) is not None and deadline <= now:
            assert deadline >= self.now
            self.now = deadline
            happened += [(deadline, word(effect)) for effect in self.layer.handle_timeout(deadline)]
        self.now = now
        return happened


def word(effect: Effect) -> str:
    """`send 200`, `send MESSAGE`, or the name of the effect."""
    if isinstance(effect, Send):
        message = parse_message(effect.data)
        return f"send {message.method if isinstance(message, Request) else message.status}"
    return type(effect).__name__


def words(effects: list[Effect]) -> list[str]:
    return [word(effect) for effect in effects]


# --- server, non-INVITE (RFC 3261 §17.2.2, RFC 4320) ------------------------------------------------


def test_a_request_reaches_the_application_once() -> None:
    bench = Bench()
    request = make()
    key = bench.begin(request)
    assert bench.receive(make()) == []
    answer = bench.respond(key, request, 200)
    assert words(answer) == ["send 200"]
    assert bench.receive(make()) == answer
    assert bench.respond(key, request, 500) == []
    assert bench.receive(make()) == answer


def test_an_answer_is_kept_for_timer_j_and_then_forgotten() -> None:
    bench = Bench()
    request = make()
    bench.respond(bench.begin(request), request, 200)
    assert bench.until(31.9) == []
    assert words(bench.receive(make())) == ["send 200"]
    assert bench.until(33) == []
    assert (len(bench.layer), bench.layer.next_deadline()) == (0, None)
    assert words(bench.receive(make())) == ["Incoming"]


def test_on_a_reliable_transport_nothing_is_kept() -> None:
    bench = Bench(reliable=True)
    request = make()
    assert words(bench.respond(bench.begin(request), request, 200)) == ["send 200"]
    assert (len(bench.layer), bench.layer.next_deadline()) == (0, None)


def test_a_slow_answer_is_bridged_by_a_100_when_timer_e_has_reached_t2() -> None:
    bench = Bench()
    request = make()
    key = bench.begin(request)
    assert bench.until(10) == [(3.5, "send 100")]
    assert words(bench.receive(make())) == ["send 100"]
    assert words(bench.respond(key, request, 200)) == ["send 200"]


def test_no_provisional_but_100_answers_a_non_invite() -> None:
    bench = Bench()
    request = make()
    key = bench.begin(request)
    assert bench.respond(key, request, 180) == []
    assert words(bench.respond(key, request, 100)) == ["send 100"]
    assert bench.respond(key, request, 100) == []


def test_a_408_to_a_non_invite_is_never_sent() -> None:
    bench = Bench()
    request = make()
    key = bench.begin(request)
    assert bench.respond(key, request, 408) == []
    assert bench.receive(make()) == []
    assert bench.until(60) == []
    assert len(bench.layer) == 0


# --- server, INVITE (RFC 3261 §17.2.1, RFC 6026 §7.1) -----------------------------------------------


def test_an_invite_without_an_answer_gets_a_100() -> None:
    bench = Bench()
    bench.begin(make("INVITE"))
    assert bench.receive(make("INVITE")) == []
    assert bench.until(5) == [(0.2, "send 100")]
    assert words(bench.receive(make("INVITE"))) == ["send 100"]


def test_the_last_provisional_is_repeated() -> None:
    bench = Bench()
    invite = make("INVITE")
    key = bench.begin(invite)
    assert words(bench.respond(key, invite, 180)) == ["send 180"]
    assert bench.until(5) == []
    assert words(bench.receive(make("INVITE"))) == ["send 180"]


def test_a_refusal_is_repeated_by_timer_g_until_timer_h() -> None:
    bench = Bench()
    invite = make("INVITE")
    key = bench.begin(invite)
    assert words(bench.respond(key, invite, 486)) == ["send 486"]
    assert words(bench.receive(make("INVITE"))) == ["send 486"]
    assert bench.until(60) == [
        *((at, "send 486") for at in (0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5, 31.5)),
        (32.0, "TimedOut"),
    ]
    assert len(bench.layer) == 0


def test_without_timer_g_a_refusal_is_repeated_only_when_the_invite_is() -> None:
    bench = Bench(timers=Timers(repeat_refusals=False))
    invite = make("INVITE")
    key = bench.begin(invite)
    assert words(bench.respond(key, invite, 405)) == ["send 405"]
    assert bench.until(31) == []
    assert words(bench.receive(make("INVITE"))) == ["send 405"]
    assert bench.until(60) == [(32.0, "TimedOut")]


def test_an_ack_ends_the_repeats_and_timer_i_the_transaction() -> None:
    bench = Bench()
    invite = make("INVITE")
    bench.respond(bench.begin(invite), invite, 486)
    assert bench.receive(make("ACK", to_tag="t")) == []
    assert bench.receive(make("ACK", to_tag="t")) == []
    assert bench.receive(make("INVITE")) == []
    assert bench.until(4.9) == []
    assert len(bench.layer) == 1
    assert bench.until(6) == []
    assert len(bench.layer) == 0


def test_on_a_reliable_transport_a_refusal_goes_once_and_the_ack_ends_all() -> None:
    bench = Bench(reliable=True)
    invite = make("INVITE")
    bench.respond(bench.begin(invite), invite, 486)
    assert bench.until(20) == []
    assert bench.receive(make("ACK")) == []
    assert len(bench.layer) == 0


def test_after_a_2xx_invites_are_absorbed_and_acks_and_2xx_pass() -> None:
    bench = Bench()
    invite = make("INVITE")
    key = bench.begin(invite)
    assert words(bench.respond(key, invite, 200)) == ["send 200"]
    assert bench.receive(make("INVITE")) == []
    assert words(bench.respond(key, invite, 200)) == ["send 200"]
    assert bench.respond(key, invite, 500) == []
    assert words(bench.receive(make("ACK"))) == ["Acknowledged"]
    assert bench.until(33) == []
    assert len(bench.layer) == 0


def test_an_ack_with_a_branch_of_its_own_goes_to_the_dialog() -> None:
    ack = make("ACK", "z9hG4bK2")
    assert Bench().receive(ack) == [Acknowledged(ack, UDP)]


# --- CANCEL (RFC 3261 §9.2) ---------------------------------------------------------------------------


def test_a_cancel_is_answered_and_told() -> None:
    bench = Bench()
    invite = make("INVITE")
    key = bench.begin(invite)
    effects = bench.receive(make("CANCEL"))
    assert (words(effects), effects[-1]) == (["send 200", "Cancelled"], Cancelled(key))
    assert words(bench.receive(make("CANCEL"))) == ["send 200"]
    assert words(bench.respond(key, invite, 487)) == ["send 487"]


def test_a_cancel_after_the_answer_changes_nothing() -> None:
    bench = Bench()
    invite = make("INVITE")
    bench.respond(bench.begin(invite), invite, 486)
    assert words(bench.receive(make("CANCEL"))) == ["send 200"]


def test_a_cancel_for_nothing_is_481() -> None:
    bench = Bench()
    bench.begin(make("MESSAGE"))
    assert words(bench.receive(make("CANCEL"))) == ["send 481"]


# --- client, non-INVITE (RFC 3261 §17.1.2) ------------------------------------------------------------


def test_a_request_is_repeated_by_timer_e_until_timer_f() -> None:
    bench = Bench()
    bench.send(make())
    assert bench.until(60) == [
        *((at, "send MESSAGE") for at in (0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5, 31.5)),
        (32.0, "TimedOut"),
    ]
    assert len(bench.layer) == 0


def test_after_a_1xx_a_request_is_repeated_every_t2() -> None:
    bench = Bench()
    request = make()
    key = bench.send(request)
    trying = respond(request, 100)
    assert bench.receive(trying) == [Provisional(key, trying, UDP)]
    assert [at for at, _ in bench.until(60)] == [0.5, 4.5, 8.5, 12.5, 16.5, 20.5, 24.5, 28.5, 32.0]


def test_the_final_answer_ends_the_repeats_and_comes_once() -> None:
    bench = Bench()
    request = make()
    key = bench.send(request)
    answer = respond(request, 404)
    assert bench.receive(answer) == [Answered(key, answer, UDP)]
    assert bench.receive(answer) == []
    assert bench.receive(respond(request, 100)) == []
    assert bench.until(4.9) == []
    assert len(bench.layer) == 1
    assert bench.until(6) == []
    assert len(bench.layer) == 0
    assert bench.receive(answer) == [Stray(answer, UDP)]


def test_on_a_reliable_transport_a_request_goes_once() -> None:
    bench = Bench(reliable=True)
    request = make()
    bench.send(request)
    assert bench.until(31.9) == []
    assert words(bench.receive(respond(request, 200))) == ["Answered"]
    assert (len(bench.layer), bench.layer.next_deadline()) == (0, None)


# --- client, INVITE (RFC 3261 §17.1.1, RFC 6026 §7.2) -------------------------------------------------


def test_an_invite_is_repeated_by_timer_a_until_timer_b() -> None:
    bench = Bench()
    bench.send(make("INVITE"))
    assert bench.until(60) == [
        *((at, "send INVITE") for at in (0.5, 1.5, 3.5, 7.5, 15.5, 31.5)),
        (32.0, "TimedOut"),
    ]


def test_a_ringing_phone_is_not_timed_out() -> None:
    bench = Bench()
    invite = make("INVITE")
    bench.send(invite)
    assert words(bench.receive(respond(invite, 180))) == ["Provisional"]
    assert words(bench.receive(respond(invite, 183))) == ["Provisional"]
    assert bench.until(120) == []
    assert words(bench.receive(respond(invite, 486))) == ["send ACK", "Answered"]


def test_a_refusal_is_acknowledged_each_time_it_comes() -> None:
    bench = Bench()
    invite = make("INVITE", "z9hG4bK1", ("Route", "<sip:p;lr>"))
    bench.send(invite)
    refusal = respond(invite, 486, to_tag="x")
    (ack, answered) = bench.receive(refusal)
    assert isinstance(ack, Send)
    assert isinstance(answered, Answered)
    request = parse_message(ack.data)
    assert isinstance(request, Request)
    # RFC 3261 §17.1.1.3.
    assert (request.method, request.uri, request.via, request.cseq.number) == (
        "ACK",
        invite.uri,
        invite.via,
        1,
    )
    assert (request.to.tag, request.from_, request.call_id) == ("x", invite.from_, "c")
    assert request.headers.fields("Route") == ["<sip:p;lr>"]
    assert bench.receive(refusal) == [ack]
    assert bench.receive(respond(invite, 200)) == []
    assert bench.until(31.9) == []
    assert len(bench.layer) == 1
    assert bench.until(33) == []
    assert len(bench.layer) == 0


def test_every_2xx_passes_until_timer_m() -> None:
    bench = Bench()
    invite = make("INVITE")
    bench.send(invite)
    for tag in ("a", "b", "a"):
        assert words(bench.receive(respond(invite, 200, to_tag=tag))) == ["Answered"]
    assert bench.receive(respond(invite, 486)) == []
    assert bench.until(33) == []
    assert words(bench.receive(respond(invite, 200))) == ["Stray"]


# --- which transaction (RFC 3261 §17.1.3, §17.2.3) ----------------------------------------------------


@pytest.mark.parametrize(
    "other",
    [
        lambda: make(branch="z9hG4bK2"),
        lambda: make("PUBLISH"),
        lambda: parse_message(serialise(make()).replace(b"192.0.2.1:5060", b"192.0.2.1:5061")),
    ],
)
def test_branch_sent_by_and_method_make_a_transaction(other: Callable[[], Request]) -> None:
    bench = Bench()
    bench.begin(make())
    assert words(bench.receive(other())) == ["Incoming"]


def test_the_same_branch_from_another_source_is_another_transaction() -> None:
    # A client whose every process invents the same branches.
    bench = Bench()
    bench.begin(make())
    assert words(bench.receive(make(), flow="udp:192.0.2.2")) == ["Incoming"]


@pytest.mark.parametrize("branch", ["", "1", "z9hG4bK"])
def test_without_a_unique_branch_the_whole_request_is_compared(branch: str) -> None:
    bench = Bench()
    request = make(branch=branch)
    answer = bench.respond(bench.begin(request), request, 200)
    assert bench.receive(make(branch=branch)) == answer
    assert words(bench.receive(make(branch=branch, cseq=2))) == ["Incoming"]
    invite = make("INVITE", branch, cseq=3)
    bench.respond(bench.begin(invite), invite, 486)
    assert bench.receive(make("ACK", branch, cseq=3, to_tag="t")) == []


@pytest.mark.parametrize("status", [401, 407])
def test_credentials_under_the_old_branch_are_a_new_request(status: int) -> None:
    bench = Bench()
    request = make("PUBLISH")
    challenge = bench.respond(bench.begin(request), request, status)
    assert bench.receive(make("PUBLISH")) == challenge

    authenticated = make("PUBLISH", "z9hG4bK1", ("Proxy-Authorization", "Digest a"))
    key = bench.begin(authenticated)
    answer = bench.respond(key, authenticated, 200)
    assert words(answer) == ["send 200"]
    # From now on either form is a repeat of what was answered.
    assert bench.receive(authenticated) == answer
    assert bench.receive(make("PUBLISH")) == answer
    bench.until(60)
    assert len(bench.layer) == 0


def test_other_credentials_after_stale_ones_are_a_new_request_and_the_same_are_not() -> None:
    bench = Bench()
    first = make("PUBLISH", "z9hG4bK1", ("Authorization", "Digest old"))
    challenge = bench.respond(bench.begin(first), first, 401)
    assert bench.receive(first) == challenge
    # A late copy of the request before that, without credentials, is no new one either.
    assert bench.receive(make("PUBLISH")) == challenge
    assert words(bench.receive(make("PUBLISH", "z9hG4bK1", ("Authorization", "Digest new")))) == ["Incoming"]


def test_credentials_change_nothing_where_no_challenge_was() -> None:
    bench = Bench()
    request = make()
    answer = bench.respond(bench.begin(request), request, 403)
    assert bench.receive(make("MESSAGE", "z9hG4bK1", ("Authorization", "Digest a"))) == answer


# --- limits and failures ------------------------------------------------------------------------------


def test_a_full_table_of_unanswered_requests_says_503() -> None:
    bench = Bench(limit=2)
    for number in range(2):
        bench.begin(make(branch=f"z9hG4bK{number}"))
    (refusal,) = bench.receive(make(branch="z9hG4bK9"))
    assert isinstance(refusal, Send)
    answer = parse_message(refusal.data)
    assert isinstance(answer, Response)
    assert (answer.status, answer.headers.get("Retry-After")) == (503, "5")
    assert len(bench.layer) == 2


def test_a_full_table_of_answered_requests_forgets_the_oldest() -> None:
    bench = Bench(limit=2)
    for number in range(4):
        request = make(branch=f"z9hG4bK{number}")
        bench.respond(bench.begin(request), request, 200)
    assert len(bench.layer) == 2
    assert words(bench.receive(make(branch="z9hG4bK3"))) == ["send 200"]


@pytest.mark.parametrize("method", ["MESSAGE", "INVITE"])
def test_answers_are_kept_to_so_many_bytes(method: str) -> None:
    """Each copies the fields of its request, whose length a stranger decides."""
    bench = Bench(limit=1000, timers=Timers(repeat_refusals=False))
    bench.layer = TransactionLayer(bench.timers, limit=1000, most_kept=50_000)
    for number in range(40):
        request = make(method, f"z9hG4bK{number}", ("Via", f"SIP/2.0/UDP h;x={'x' * 8000}"))
        bench.respond(bench.begin(request), request, 403)
    assert 3 <= len(bench.layer) <= 8
    assert words(bench.receive(make(method, "z9hG4bK39"))) == ["send 403"]
    forgotten = make(method, "z9hG4bK0")
    bench.respond(bench.begin(forgotten), forgotten, 403)
    bench.until(60)
    assert bench.layer._kept == 0


def test_what_is_challenged_again_and_again_counts_once() -> None:
    bench = Bench()
    for number in range(20):
        request = make("PUBLISH", "z9hG4bK1", ("Authorization", f"Digest {number}"))
        bench.respond(bench.begin(request), request, 401)
    assert bench.layer._kept == len(serialise(respond(request, 401)))
    bench.until(60)
    assert bench.layer._kept == 0


def test_too_many_requests_of_our_own_are_refused() -> None:
    bench = Bench(limit=1)
    bench.send(make())
    with pytest.raises(TooBusy):
        bench.send(make(branch="z9hG4bK2"))


def test_a_branch_cannot_be_used_twice() -> None:
    bench = Bench()
    bench.send(make())
    with pytest.raises(ValueError, match="branch"):
        bench.send(make())


def test_a_broken_flow_fails_its_unanswered_requests() -> None:
    bench = Bench()
    first, second, third = (make(branch=f"z9hG4bK{number}") for number in range(3))
    key = bench.send(first)
    bench.send(second)
    bench.receive(respond(second, 200))
    other, _ = bench.layer.send_request(third, TCP, True, 0.0)
    assert bench.layer.transport_failed(UDP, 0.0) == [TransportFailed(key)]
    assert bench.layer.transport_failed(UDP, 0.0) == []
    assert bench.until(60) == [(32.0, "TimedOut")]
    assert other not in (key,)
    assert len(bench.layer) == 0


def test_an_answer_to_a_forgotten_request_goes_nowhere() -> None:
    bench = Bench(reliable=True)
    request = make()
    key = bench.begin(request)
    bench.respond(key, request, 200)
    assert bench.respond(key, request, 200) == []


def test_many_answered_requests_wake_the_process_once_a_second() -> None:
    bench = Bench(limit=1000)
    for number in range(100):
        bench.now = number / 100
        request = make(branch=f"z9hG4bK{number}")
        bench.respond(bench.begin(request), request, 200)
    deadlines = set()
    while (deadline := bench.layer.next_deadline()) is not None:
        deadlines.add(deadline)
        assert bench.layer.handle_timeout(deadline) == []
    assert deadlines == {32.0, 33.0}


def test_time_out_of_an_ended_transaction_is_silent() -> None:
    bench = Bench()
    request = make()
    bench.send(request)
    assert [type(effect) for effect in bench.receive(respond(request, 200))] == [Answered]
    assert TimedOut not in [type(effect) for effect in bench.layer.handle_timeout(100.0)]
