"""Which target is tried when."""

from __future__ import annotations

import pytest

from sip.failover import Avoided, failed
from sip.locating import Target
from sip.message import Response
from sip.runtime import Answer, Silence

ONE, TWO, THREE = (Target("udp", f"192.0.2.{n}", 5060, "example.org") for n in (1, 2, 3))
SILENT = Answer(None, Silence.TIMEOUT)


@pytest.mark.parametrize(
    ("answer", "next_one"),
    [
        (SILENT, True),
        (Answer(None, Silence.BROKEN), True),
        (Answer(None, Silence.UNREACHABLE), True),
        (Answer(None, Silence.TIMEOUT, heard=True), False),
        (Answer(Response(503)), True),
        (Answer(Response(500)), False),
        (Answer(Response(404)), False),
        (Answer(Response(200)), False),
        (Answer(Response(603)), False),
    ],
)
def test_silence_and_503_are_failures_and_nothing_else_is(answer: Answer, next_one: bool) -> None:
    assert failed(answer) is next_one


def test_who_failed_is_tried_last_for_a_minute() -> None:
    avoided = Avoided()
    avoided.note(ONE, SILENT, now=100.0)
    assert avoided.order([ONE, TWO, THREE], 159.0) == [TWO, THREE, ONE]
    assert avoided.order([ONE, TWO, THREE], 161.0) == [ONE, TWO, THREE]


def test_an_answer_makes_good_again() -> None:
    avoided = Avoided()
    avoided.note(ONE, SILENT, now=100.0)
    avoided.note(ONE, Answer(Response(404)), now=101.0)
    assert avoided.order([ONE, TWO], 102.0) == [ONE, TWO]


@pytest.mark.parametrize(
    ("after", "seconds"), [("5", 5.0), ("120 (maintenance)", 120.0), ("999999", 600.0), ("soon", 60.0)]
)
def test_a_503_says_itself_how_long_within_bounds(after: str, seconds: float) -> None:
    avoided = Avoided()
    avoided.note(ONE, Answer(Response(503, headers=[("Retry-After", after)])), now=0.0)
    assert avoided.order([ONE, TWO], seconds - 0.5)[0] is TWO
    assert avoided.order([ONE, TWO], seconds + 0.5)[0] is ONE


def test_where_all_failed_all_are_tried() -> None:
    avoided = Avoided()
    for target in (ONE, TWO):
        avoided.note(target, SILENT, now=0.0)
    assert avoided.order([ONE, TWO], 1.0) == [ONE, TWO]
