"""What the SIP application needs from the edge: time, tasks, and requests of its own on their way."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple, Protocol

from sip.flow import Flow
from sip.message import Request, Response


class Reply(NamedTuple):
    """The answer to a request, and what to do once it is on the wire."""

    response: Response
    then: Callable[[], None] | None = None


class Timer(Protocol):
    def cancel(self) -> None: ...


class Runtime(Protocol):
    """Time and tasks."""

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run it on its own; a failure is logged and counted."""

    def now(self) -> float:
        """Unix seconds."""

    def call_later(self, delay: float, callback: Callable[[], None]) -> Timer: ...


class Silence(StrEnum):
    """Why there is no answer."""

    TIMEOUT = "timeout"
    "Sent, and nobody answered (timer F)."
    BROKEN = "broken"
    "The flow is dead, or died before the answer."
    BUSY = "busy"
    "Too many requests of ours are in flight; nothing was sent."
    UNREACHABLE = "unreachable"
    "No address of the next hop took it; one may soon be back."


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a request of ours."""

    response: Response | None
    "The final one."
    silence: Silence | None = None
    heard: bool = False
    "There was a provisional one: somebody has the request."

    @property
    def status(self) -> int:
        return self.response.status if self.response is not None else 0


class Sender(Protocol):
    """Requests of our own."""

    def send(self, request: Request, flow: Flow, done: Callable[[Answer], None]) -> None:
        """Send a request that has no Via yet, on a flow or over a route. `done` is called once, never before
        this returns, and must not raise."""

    def alive(self, flow: Flow) -> bool:
        """Something sent there has a chance to arrive."""

    def contact(self, flow: Flow) -> str:
        """URI under which the peer at the other end reaches this server on the same transport."""
