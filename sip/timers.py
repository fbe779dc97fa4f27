"""Durations of RFC 3261 table 4, and the alarms of all transactions.

Alarms of one duration fire in the order they were set, so that each duration is one queue: setting and
dropping cost the same however many there are. What merely ends a transaction's memory may be late by a
second, and is gathered to whole ones: a process is not woken for each.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Generic, Protocol, TypeVar

NEVER = math.inf


@dataclass(frozen=True, slots=True)
class Timers:
    """Seconds, and what is done when they are over."""

    t1: float = 0.5
    "Round-trip time estimate."
    t2: float = 4.0
    "Longest interval between retransmissions of non-INVITE requests and of INVITE responses."
    t4: float = 5.0
    "How long the network may keep a message."
    trying: float = 0.2
    "After this an INVITE that has no answer gets a 100 (RFC 3261 §17.2.1)."
    repeat_refusals: bool = True
    """Timer G. Without it the refusal of an INVITE is sent again only when the INVITE is, as a stateless UAS
    would (RFC 3261 §8.2.7)."""

    @property
    def timeout(self) -> float:
        """Timers B, D, F, H, J, L and M."""
        return 64 * self.t1

    @property
    def delayed_trying(self) -> float:
        """When the peer's Timer E has reached T2, a non-INVITE gets its 100, not before (RFC 4320 §4.1)."""
        interval, elapsed = self.t1, 0.0
        while interval < self.t2:
            elapsed += interval
            interval *= 2
        return elapsed


class Alarm(IntEnum):
    AGAIN = 0
    "Send once more: A, E, G, or the first 100."
    END = 1
    "Give up: B, F, H."
    FORGET = 2
    "Nothing can come any more: D, I, J, K, L, M."


class Armed(Protocol):
    """Who sets alarms. An alarm that is not the one noted here is obsolete."""

    again_at: float
    end_at: float


A = TypeVar("A", bound=Armed)


class Alarms(Generic[A]):
    def __init__(self, timers: Timers) -> None:
        self.timers = timers
        self.delayed_trying = timers.delayed_trying
        self.timeout = timers.timeout
        self._queues: dict[tuple[Alarm, float], deque[tuple[float, A]]] = {}

    def again(self, owner: A, now: float, delay: float) -> None:
        owner.again_at = now + delay
        self._queue(Alarm.AGAIN, delay).append((owner.again_at, owner))

    def end(self, owner: A, now: float, delay: float) -> None:
        """A deadline somebody waits for."""
        owner.end_at = now + delay
        self._queue(Alarm.END, delay).append((owner.end_at, owner))

    def forget(self, owner: A, now: float, delay: float) -> None:
        """A deadline nobody waits for."""
        owner.end_at = math.ceil(now + delay)
        self._queue(Alarm.FORGET, delay).append((owner.end_at, owner))

    def next(self) -> float | None:
        """When `due` has something to give."""
        deadline = NEVER
        for (alarm, _), queue in self._queues.items():
            while queue and not _valid(alarm, *queue[0]):
                queue.popleft()
            if queue:
                deadline = min(deadline, queue[0][0])
        return None if deadline == NEVER else deadline

    def due(self, now: float) -> Iterator[tuple[Alarm, A]]:
        """Take off what is due; each owner's note of it is cleared first. New alarms may be set meanwhile."""
        for alarm, queue in [(alarm, queue) for (alarm, _), queue in self._queues.items()]:
            while queue and queue[0][0] <= now:
                at, owner = queue.popleft()
                if not _valid(alarm, at, owner):
                    continue
                if alarm is Alarm.AGAIN:
                    owner.again_at = NEVER
                else:
                    owner.end_at = NEVER
                yield alarm, owner

    def oldest(self) -> A | None:
        """Take off the one whose `forget` has lasted longest, for want of space."""
        queue = self._queue(Alarm.FORGET, self.timers.timeout)
        while queue:
            at, owner = queue.popleft()
            if _valid(Alarm.FORGET, at, owner):
                return owner
        return None

    def _queue(self, alarm: Alarm, delay: float) -> deque[tuple[float, A]]:
        # The durations are T1 doubled a few times and sums of constants, so there are never many queues.
        try:
            return self._queues[alarm, delay]
        except KeyError:
            return self._queues.setdefault((alarm, delay), deque())


def _valid(alarm: Alarm, at: float, owner: Armed) -> bool:
    return at == (owner.again_at if alarm is Alarm.AGAIN else owner.end_at)
