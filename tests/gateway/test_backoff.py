"""`gateway.backoff`."""

from __future__ import annotations

from gateway.backoff import Backoff


def test_waits_double_up_to_the_longest() -> None:
    backoff = Backoff(first=0.1, longest=0.5)
    assert [backoff.wait() for _ in range(5)] == [0.1, 0.2, 0.4, 0.5, 0.5]


def test_success_starts_over() -> None:
    backoff = Backoff(first=0.1, longest=10)
    backoff.wait()
    backoff.wait()
    backoff.reset()
    assert backoff.wait() == 0.1
