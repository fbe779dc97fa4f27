"""The four transaction machines (RFC 3261 §17 as changed by RFC 6026 and RFC 4320).

Each turns one input into effects and sets its alarms; the layer in `transaction.py` finds the machine, and
drops it when its state is TERMINATED.
"""

from __future__ import annotations

from enum import Enum
from typing import ClassVar

from sip.effects import (
    Acknowledged,
    Answered,
    Effect,
    Flow,
    Key,
    Provisional,
    Send,
    TimedOut,
)
from sip.message import Headers, Request, Response, respond, serialise
from sip.timers import NEVER, Alarms


class State(Enum):
    CALLING = "calling"
    TRYING = "trying"
    PROCEEDING = "proceeding"
    ACCEPTED = "accepted"
    COMPLETED = "completed"
    CONFIRMED = "confirmed"
    TERMINATED = "terminated"


class Machine:
    """One transaction."""

    __slots__ = ("again_at", "alarms", "data", "end_at", "flow", "key", "reliable", "state")

    initial: ClassVar[State]

    def __init__(self, key: Key, flow: Flow, reliable: bool, alarms: Alarms[Machine]) -> None:
        self.key = key
        self.flow = flow
        self.reliable = reliable
        self.alarms = alarms
        self.state = self.initial
        self.data = b""
        "What to send again."
        self.again_at = NEVER
        self.end_at = NEVER

    def again(self, now: float) -> list[Effect]:
        """The retransmission alarm."""
        raise NotImplementedError

    def end(self) -> list[Effect]:
        """The final alarm; the machine is TERMINATED then."""
        self.terminate()
        return []

    def terminate(self) -> None:
        self.state = State.TERMINATED
        self.again_at = self.end_at = NEVER
        self.data = b""

    def _linger(self, now: float, state: State, delay: float) -> None:
        """Absorb what still comes; not at all where nothing can (a delay of zero)."""
        self.state = state
        self.again_at = NEVER
        if delay:
            self.alarms.forget(self, now, delay)
        else:
            self.terminate()


class Server(Machine):
    __slots__ = ("credentials", "kept", "request")

    def __init__(
        self, key: Key, flow: Flow, reliable: bool, alarms: Alarms[Machine], request: Request
    ) -> None:
        super().__init__(key, flow, reliable, alarms)
        self.request: Request | None = request
        "Until it is answered."
        self.kept = 0
        "Bytes of `data` that the layer has counted."
        self.credentials: tuple[list[str], list[str]] | None = None
        "Those of a request that was challenged."

    def challenged_other(self, request: Request) -> bool:
        """Whether the same identifiers come again with the credentials we asked for: a new request, then.

        Some clients repeat a challenged request without a new branch and CSeq.
        """
        return self.credentials is not None and credentials_of(request) not in (self.credentials, ([], []))

    def _answer(self, response: Response) -> list[Effect]:
        if response.status in (401, 407) and self.request is not None:
            self.credentials = credentials_of(self.request)
        if response.status >= 200:
            self.request = None
        self.data = serialise(response)
        return [Send(self.flow, self.data)]

    def _trying(self) -> list[Effect]:
        if self.request is None or self.data:
            return []
        self.state = State.PROCEEDING
        self.data = serialise(respond(self.request, 100))
        return [Send(self.flow, self.data)]

    def repeated(self) -> list[Effect]:
        """The same request once more."""
        raise NotImplementedError

    def respond(self, response: Response, now: float) -> list[Effect]:
        raise NotImplementedError


def credentials_of(request: Request) -> tuple[list[str], list[str]]:
    headers = request.headers
    return headers.fields("Authorization"), headers.fields("Proxy-Authorization")


class NonInviteServer(Server):
    """RFC 3261 §17.2.2, RFC 4320 §4."""

    __slots__ = ()

    initial = State.TRYING

    def start(self, now: float) -> None:
        self.alarms.again(self, now, self.alarms.delayed_trying)

    def again(self, now: float) -> list[Effect]:
        return self._trying()

    def repeated(self) -> list[Effect]:
        return [Send(self.flow, self.data)] if self.data else []

    def respond(self, response: Response, now: float) -> list[Effect]:
        status = response.status
        if self.state is State.COMPLETED:
            # A second final response is discarded, §17.2.2.
            return []
        if status < 200:
            if status != 100 or self.data:
                # RFC 4320 §4.1: no other provisional response.
                return []
            return self._trying()
        # RFC 4320 §4.2: a 408 would come too late to be of use, and is not sent.
        effects = [] if status == 408 else self._answer(response)
        self.request = None
        self._linger(now, State.COMPLETED, 0 if self.reliable else self.alarms.timeout)
        return effects


class InviteServer(Server):
    """RFC 3261 §17.2.1, RFC 6026 §7.1."""

    __slots__ = ("_interval",)

    initial = State.PROCEEDING

    def start(self, now: float) -> None:
        self._interval = self.alarms.timers.t1
        self.alarms.again(self, now, self.alarms.timers.trying)

    def again(self, now: float) -> list[Effect]:
        if self.state is State.COMPLETED:
            # Timer G.
            self._interval = min(self._interval * 2, self.alarms.timers.t2)
            self.alarms.again(self, now, self._interval)
            return [Send(self.flow, self.data)]
        return self._trying()

    def end(self) -> list[Effect]:
        unacknowledged = self.state is State.COMPLETED
        self.terminate()
        return [TimedOut(self.key)] if unacknowledged else []

    def repeated(self) -> list[Effect]:
        if self.state in (State.PROCEEDING, State.COMPLETED) and self.data:
            return [Send(self.flow, self.data)]
        return []

    def respond(self, response: Response, now: float) -> list[Effect]:
        if self.state is State.ACCEPTED:
            # RFC 6026 §7.1: the dialog retransmits its 2xx, or sends those of further branches.
            return [Send(self.flow, serialise(response))] if 200 <= response.status < 300 else []
        if self.state is not State.PROCEEDING:
            return []
        effects = self._answer(response)
        if response.status < 200:
            self.again_at = NEVER
        elif response.status < 300:
            self._linger(now, State.ACCEPTED, self.alarms.timeout)
            self.data = b""
        else:
            self.state = State.COMPLETED
            self.again_at = NEVER
            if self.alarms.timers.repeat_refusals:
                self.alarms.end(self, now, self.alarms.timeout)
                if not self.reliable:
                    self.alarms.again(self, now, self._interval)
            else:
                # Nobody here waits for the ACK: it makes room like any other answer.
                self.alarms.forget(self, now, self.alarms.timeout)
        return effects

    def acknowledged(self, request: Request, now: float) -> list[Effect]:
        if self.state is State.ACCEPTED:
            return [Acknowledged(request, self.flow)]
        if self.state is State.COMPLETED:
            self._linger(now, State.CONFIRMED, 0 if self.reliable else self.alarms.timers.t4)
        return []


class Client(Machine):
    __slots__ = ("_interval",)

    def __init__(
        self, key: Key, flow: Flow, reliable: bool, alarms: Alarms[Machine], request: Request, now: float
    ) -> None:
        super().__init__(key, flow, reliable, alarms)
        self.data = serialise(request)
        self._interval = alarms.timers.t1
        alarms.end(self, now, alarms.timeout)
        if not reliable:
            alarms.again(self, now, self._interval)

    @property
    def pending(self) -> bool:
        """No final answer yet."""
        return self.state in (State.CALLING, State.TRYING, State.PROCEEDING)

    def end(self) -> list[Effect]:
        pending = self.pending
        self.terminate()
        return [TimedOut(self.key)] if pending else []

    def answered(self, response: Response, now: float) -> list[Effect]:
        raise NotImplementedError


class NonInviteClient(Client):
    """RFC 3261 §17.1.2."""

    __slots__ = ()

    initial = State.TRYING

    def again(self, now: float) -> list[Effect]:
        # Timer E.
        proceeding = self.state is State.PROCEEDING
        self._interval = (
            self.alarms.timers.t2 if proceeding else min(self._interval * 2, self.alarms.timers.t2)
        )
        self.alarms.again(self, now, self._interval)
        return [Send(self.flow, self.data)]

    def answered(self, response: Response, now: float) -> list[Effect]:
        if self.state is State.COMPLETED:
            return []
        if response.status < 200:
            self.state = State.PROCEEDING
            return [Provisional(self.key, response, self.flow)]
        self.data = b""
        self._linger(now, State.COMPLETED, 0 if self.reliable else self.alarms.timers.t4)
        return [Answered(self.key, response, self.flow)]


class InviteClient(Client):
    """RFC 3261 §17.1.1, RFC 6026 §7.2."""

    __slots__ = ("_invite",)

    initial = State.CALLING

    def __init__(
        self, key: Key, flow: Flow, reliable: bool, alarms: Alarms[Machine], request: Request, now: float
    ) -> None:
        super().__init__(key, flow, reliable, alarms, request, now)
        self._invite = request

    def again(self, now: float) -> list[Effect]:
        # Timer A, which knows no upper limit but Timer B.
        self._interval *= 2
        self.alarms.again(self, now, self._interval)
        return [Send(self.flow, self.data)]

    def answered(self, response: Response, now: float) -> list[Effect]:
        status = response.status
        if self.state is State.COMPLETED:
            return [Send(self.flow, self.data)] if status >= 300 else []
        if self.state is State.ACCEPTED:
            return [Answered(self.key, response, self.flow)] if 200 <= status < 300 else []
        if status < 200:
            # §17.1.1.2: a phone may ring for minutes; the caller ends it with a CANCEL.
            self.state = State.PROCEEDING
            self.again_at = self.end_at = NEVER
            return [Provisional(self.key, response, self.flow)]
        answered = Answered(self.key, response, self.flow)
        if status < 300:
            self._linger(now, State.ACCEPTED, self.alarms.timeout)
            self.data = b""
            return [answered]
        self.data = serialise(acknowledgement(self._invite, response))
        acknowledged = Send(self.flow, self.data)
        self._linger(now, State.COMPLETED, 0 if self.reliable else self.alarms.timeout)
        return [acknowledged, answered]


def acknowledgement(invite: Request, response: Response) -> Request:
    """The ACK to a final answer that is no 2xx (RFC 3261 §17.1.1.3)."""
    headers = Headers([("Via", str(invite.via)), ("Max-Forwards", "70")])
    for name, source in (("From", invite), ("To", response), ("Call-ID", invite)):
        headers.add(name, source.headers.get(name) or "")
    headers.add("CSeq", f"{invite.cseq.number} ACK")
    for route in invite.headers.fields("Route"):
        headers.add("Route", route)
    return Request("ACK", invite.uri, headers)
