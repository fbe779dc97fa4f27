"""Transactions (RFC 3261 §17, RFC 6026, RFC 4320): retransmissions end here, in both directions.

Contract: an input and the time go in, effects come out, to be performed in their order; then the edge arms
one timer for `next_deadline` and calls `handle_timeout`. Times are seconds of one clock that never goes back.

Beyond the RFC: a transaction belongs to the flow its request came on, because clients exist whose branches
are the same in every process; and a challenged request that comes again under its old identifiers, with
credentials, is new.

GAP RFC 3261 §8.2.2.2: merged requests are not told apart, for the same clients' sake.
"""

from __future__ import annotations

from sip.effects import (
    Acknowledged,
    Answered,
    Cancelled,
    Effect,
    Flow,
    Incoming,
    Key,
    Provisional,
    Send,
    Stray,
    TimedOut,
    TransportFailed,
)
from sip.errors import BadHeader, TooBusy
from sip.machines import (
    Client,
    InviteClient,
    InviteServer,
    Machine,
    NonInviteClient,
    NonInviteServer,
    Server,
    State,
)
from sip.message import Request, Response, respond, serialise
from sip.timers import Alarm, Alarms, Timers

__all__ = [
    "Acknowledged",
    "Answered",
    "Cancelled",
    "Effect",
    "Flow",
    "Incoming",
    "Key",
    "Provisional",
    "Send",
    "Stray",
    "TimedOut",
    "Timers",
    "TransactionLayer",
    "TransportFailed",
]

_COOKIE = "z9hG4bK"


class TransactionLayer:
    """All transactions of one process.

    Of each side there are never more than `limit`, and the answers kept to be sent again are never more than
    `most_kept` bytes: who asks, decides how long an answer is. For room the server side forgets what was
    answered longest ago; if nothing was answered, a request gets 503. Requests of our own raise `TooBusy`.
    """

    def __init__(
        self,
        timers: Timers | None = None,
        limit: int = 100_000,
        retry_after: int = 5,
        most_kept: int = 67_108_864,
    ) -> None:
        self._limit = limit
        self._most_kept = most_kept
        self._kept = 0
        "Bytes of answers."
        self._retry_after = retry_after
        self._servers: dict[Key, Server] = {}
        self._clients: dict[Key, Client] = {}
        self._by_flow: dict[Flow, dict[Key, Client]] = {}
        self._alarms: Alarms[Machine] = Alarms(timers or Timers())

    def __len__(self) -> int:
        return len(self._servers) + len(self._clients)

    # --- from the network -----------------------------------------------------------------------

    def receive(self, message: Request | Response, flow: Flow, reliable: bool, now: float) -> list[Effect]:
        """A parsed message from the wire."""
        if isinstance(message, Response):
            return self._receive_response(message, flow, now)
        if message.method == "ACK":
            return self._receive_ack(message, flow, now)
        key = server_key(message, flow)
        known = self._servers.get(key)
        if known is not None and not known.challenged_other(message):
            return known.repeated()
        if known is None and not self._room():
            headers = (("Retry-After", str(self._retry_after)),)
            return [Send(flow, serialise(respond(message, 503, headers=headers)))]
        if known is not None:
            known.terminate()
            self._weigh(known)
        return self._begin(key, message, flow, reliable, now)

    def _room(self) -> bool:
        while len(self._servers) >= self._limit or self._kept > self._most_kept:
            oldest = self._alarms.oldest()
            if oldest is None:
                return False
            oldest.terminate()
            self._after(oldest, [])
        return True

    def _begin(self, key: Key, request: Request, flow: Flow, reliable: bool, now: float) -> list[Effect]:
        machine: InviteServer | NonInviteServer
        if request.method == "INVITE":
            machine = InviteServer(key, flow, reliable, self._alarms, request)
        else:
            machine = NonInviteServer(key, flow, reliable, self._alarms, request)
        self._servers[key] = machine
        machine.start(now)
        if request.method == "CANCEL":
            return self._cancel(key, request, now)
        return [Incoming(key, request, flow)]

    def _cancel(self, key: Key, request: Request, now: float) -> list[Effect]:
        """RFC 3261 §9.2."""
        invite = self._servers.get((*key[:-1], "INVITE"))
        if not isinstance(invite, InviteServer):
            return self.respond(key, respond(request, 481), now)
        effects = self.respond(key, respond(request, 200), now)
        if invite.state is State.PROCEEDING:
            effects.append(Cancelled(invite.key))
        return effects

    def _receive_ack(self, request: Request, flow: Flow, now: float) -> list[Effect]:
        machine = self._servers.get(server_key(request, flow))
        if isinstance(machine, InviteServer):
            return self._after(machine, machine.acknowledged(request, now))
        return [Acknowledged(request, flow)]

    def _receive_response(self, response: Response, flow: Flow, now: float) -> list[Effect]:
        try:
            key = client_key(response)
        except BadHeader:
            return []
        machine = self._clients.get(key)
        if machine is None:
            return [Stray(response, flow)]
        return self._after(machine, machine.answered(response, now))

    # --- from the application -------------------------------------------------------------------

    def send_request(
        self, request: Request, flow: Flow, reliable: bool, now: float
    ) -> tuple[Key, list[Effect]]:
        """Send a request whose top Via has a fresh branch. An ACK to a 2xx is none: just send it."""
        key = client_key(request)
        if key in self._clients:
            raise ValueError("this branch is in use")
        if len(self._clients) >= self._limit:
            raise TooBusy("too many requests are in flight")
        kind = InviteClient if request.method == "INVITE" else NonInviteClient
        machine = kind(key, flow, reliable, self._alarms, request, now)
        self._clients[key] = machine
        self._by_flow.setdefault(flow, {})[key] = machine
        return key, [Send(flow, machine.data)]

    def respond(self, key: Key, response: Response, now: float) -> list[Effect]:
        """Answer an `Incoming`. Nothing happens when it was answered before, or nobody waits any more."""
        machine = self._servers.get(key)
        if machine is None:
            return []
        return self._after(machine, machine.respond(response, now))

    def transport_failed(self, flow: Flow, now: float) -> list[Effect]:
        """The flow is broken, or refused what was sent: our unanswered requests on it are lost."""
        effects: list[Effect] = []
        for machine in list(self._by_flow.get(flow, {}).values()):
            if machine.pending:
                effects.append(TransportFailed(machine.key))
            machine.terminate()
            self._after(machine, [])
        return effects

    # --- from the clock -------------------------------------------------------------------------

    def next_deadline(self) -> float | None:
        """When to call `handle_timeout`; None while nothing is to come."""
        return self._alarms.next()

    def handle_timeout(self, now: float) -> list[Effect]:
        effects: list[Effect] = []
        for alarm, machine in self._alarms.due(now):
            effects += self._after(machine, machine.again(now) if alarm is Alarm.AGAIN else machine.end())
        return effects

    def _weigh(self, machine: Server) -> None:
        """Its answer has come, or gone."""
        self._kept += len(machine.data) - machine.kept
        machine.kept = len(machine.data)

    def _after(self, machine: Machine, effects: list[Effect]) -> list[Effect]:
        """Forget a machine that has ended."""
        if isinstance(machine, Server):
            self._weigh(machine)
        if machine.state is State.TERMINATED:
            if isinstance(machine, Client):
                self._clients.pop(machine.key, None)
                mates = self._by_flow.get(machine.flow)
                if mates is not None:
                    mates.pop(machine.key, None)
                    if not mates:
                        del self._by_flow[machine.flow]
            elif self._servers.get(machine.key) is machine:
                del self._servers[machine.key]
        return effects


def server_key(request: Request, flow: Flow) -> Key:
    """Which transaction a request belongs to (RFC 3261 §17.2.3); an ACK belongs to its INVITE."""
    via = request.via
    branch = via.branch
    method = "INVITE" if request.method == "ACK" else request.method
    if branch.startswith(_COOKIE) and branch != _COOKIE:
        return (flow, branch, via.host, via.port, method)
    # RFC 2543: no unique branch, so everything that identifies a request is compared. The To tag is not: it
    # would tell apart only the ACKs of several of our own answers.
    return (
        flow,
        str(request.uri),
        request.from_.tag,
        request.call_id,
        request.cseq.number,
        str(via),
        method,
    )


def client_key(message: Request | Response) -> Key:
    """Which of our transactions a response belongs to (RFC 3261 §17.1.3)."""
    return (message.via.branch, message.cseq.method)
