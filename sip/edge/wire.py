"""Bytes in, transactions, requests out: the transaction layer with its clock and its flows."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import assert_never

import structlog

from presence.ports import Metrics
from sip.edge.listener import Listener
from sip.edge.reach import Reach
from sip.effects import (
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
    TransportFailed,
)
from sip.errors import BadMessage, TooBusy
from sip.flow import ROUTED, Flow
from sip.headers import Via
from sip.message import Request, Response, new_branch, respond, serialise
from sip.parser import parse_head, parse_message
from sip.runtime import Answer, Silence
from sip.timers import Timers
from sip.transaction import TransactionLayer

log = structlog.get_logger()

OnRequest = Callable[[Key, Request, Flow], None]
_CACHED = 20_000
_RESPONSE = b"SIP/"
"What an answer of others begins with; any other spelling counts as a request."


class Wire:
    """Implements `sip.runtime.Sender` and `sip.edge.listener.Above`."""

    def __init__(
        self,
        on_request: OnRequest,
        on_flow_lost: Callable[[Flow], None],
        metrics: Metrics,
        mark: str = "",
        answers: Callable[[Flow], bool] = lambda flow: True,
    ) -> None:
        """`mark`: stands in our branches, so that we know our own requests again. `answers`: whether a
        request that came as a datagram, broken or repeated, is worth an answer."""
        self._answers = answers
        self._mark = mark
        self._on_request = on_request
        self._on_flow_lost = on_flow_lost
        self._metrics = metrics
        self._loop = asyncio.get_running_loop()
        # No INVITE is accepted here, and one with a forged sender must not make us send eleven refusals.
        self._layer = TransactionLayer(Timers(repeat_refusals=False))
        self._waiting: dict[Key, Callable[[Answer], None]] = {}
        self._heard: set[Key] = set()
        "Of those, what somebody is working on."
        self._timer: asyncio.TimerHandle | None = None
        self._deadline = float("inf")
        self._arming = False
        self._vias: dict[Flow, tuple[Via, str]] = {}
        self._contacts: dict[Flow, str] = {}
        self.quiet = asyncio.Event()
        "Set while no answer is due to us."
        self.quiet.set()
        self.listener: Listener | None = None
        "Set before anything is received."
        self.reach: Reach | None = None
        "Set before anything is sent over a route."

    def __len__(self) -> int:
        """Requests of ours without an answer."""
        return len(self._waiting)

    # --- from the network -----------------------------------------------------------------------

    def received(self, data: bytes, flow: Flow) -> None:
        """One whole message. Of datagrams that are worth no answer nothing is read."""
        if not flow.reliable and data[:4] != _RESPONSE and not self._answers(flow):
            return
        try:
            message = parse_message(data)
            if isinstance(message, Request):
                message.stamp(flow.host, flow.port)
        except BadMessage as error:
            self._metrics.count("sip_bad_messages_total")
            if error.request is not None:
                self._refuse(error.request, error.status, error.reason, error.headers, flow)
            return
        self._perform(self._layer.receive(message, flow, flow.reliable, self._loop.time()))

    def unframed(self, head: bytes, status: int, flow: Flow) -> None:
        """A message whose end cannot be known; its connection is closed behind the answer."""
        self._metrics.count("sip_bad_messages_total")
        request = parse_head(head)
        if request is not None:
            self._refuse(request, status, "", (), flow)

    def _refuse(
        self, request: Request, status: int, reason: str, headers: tuple[tuple[str, str], ...], flow: Flow
    ) -> None:
        """Without a transaction: what is broken has no reliable identity."""
        self._send(flow, serialise(respond(request, status, reason or None, headers=headers)))

    def flow_lost(self, flow: Flow) -> None:
        self._vias.pop(flow, None)
        self._contacts.pop(flow, None)
        self._perform(self._layer.transport_failed(flow, self._loop.time()))
        self._on_flow_lost(flow)

    # --- from the application -------------------------------------------------------------------

    def respond(self, key: Key, response: Response) -> None:
        self._perform(self._layer.respond(key, response, self._loop.time()))

    def send(self, request: Request, flow: Flow, done: Callable[[Answer], None]) -> None:
        if flow.transport == ROUTED and self.reach is not None:
            self.reach.send(request, flow.host, done)
            return
        if not self.alive(flow):
            self._loop.call_soon(done, Answer(None, Silence.BROKEN))
            return
        branch = new_branch(self._mark)
        via, text = self._via(flow)
        request.headers.put_first("Via", f"{text};branch={branch}")
        request.headers.know(
            "Via", Via(via.transport, via.host, via.port, (("branch", branch), *via.parameters))
        )
        try:
            key, effects = self._layer.send_request(request, flow, flow.reliable, self._loop.time())
        except TooBusy:
            self._loop.call_soon(done, Answer(None, Silence.BUSY))
            return
        self._waiting[key] = done
        self.quiet.clear()
        self._perform(effects)

    def alive(self, flow: Flow) -> bool:
        if flow.transport == ROUTED:
            return self.reach is not None
        return self.listener is not None and self.listener.alive(flow)

    def contact(self, flow: Flow) -> str:
        known = self._contacts.get(flow)
        if known is None:
            if flow.transport == ROUTED:
                # `Reach` writes it anew when it has found the transport.
                return "sip:unknown.invalid"
            known = f"sip:{self._own(flow)};transport={flow.parameter}"
            if len(self._contacts) >= _CACHED:
                self._contacts.clear()
            self._contacts[flow] = known
        return known

    def _via(self, flow: Flow) -> tuple[Via, str]:
        """Our Via on a flow, still without a branch, and its text."""
        known = self._vias.get(flow)
        if known is None:
            text = f"SIP/2.0/{flow.transport.upper()} {self._own(flow)};rport"
            if len(self._vias) >= _CACHED:
                self._vias.clear()
            known = self._vias[flow] = (Via.parse(text), text)
        return known

    def _own(self, flow: Flow) -> str:
        assert self.listener is not None
        return self.listener.own_hostport(flow)

    # --- effects --------------------------------------------------------------------------------

    def _perform(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Send():
                    self._send(effect.flow, effect.data)  # type: ignore[arg-type]
                case Incoming():
                    self._on_request(effect.key, effect.request, effect.flow)  # type: ignore[arg-type]
                case Answered():
                    self._answered(effect.key, Answer(effect.response))
                case TimedOut():
                    self._answered(effect.key, Answer(None, Silence.TIMEOUT, heard=effect.key in self._heard))
                case TransportFailed():
                    self._answered(effect.key, Answer(None, Silence.BROKEN))
                case Cancelled():
                    # No INVITE of ours waits for anybody: it was answered before its CANCEL came.
                    pass
                case Provisional():
                    if effect.key in self._waiting:
                        self._heard.add(effect.key)
                case Stray() | Acknowledged():
                    pass
                case _:
                    assert_never(effect)
        if not self._arming:
            self._arming = True
            self._loop.call_soon(self._arm)

    def _answered(self, key: Key, answer: Answer) -> None:
        done = self._waiting.pop(key, None)
        if self._heard:
            self._heard.discard(key)
        if done is not None:
            self._loop.call_soon(self._report, done, answer)

    def _report(self, done: Callable[[Answer], None], answer: Answer) -> None:
        done(answer)
        if not self._waiting:
            self.quiet.set()

    def _send(self, flow: Flow, data: bytes) -> None:
        if self.listener is None or not self.listener.send(flow, data):
            self._loop.call_soon(self._failed, flow)

    def _failed(self, flow: Flow) -> None:
        self._perform(self._layer.transport_failed(flow, self._loop.time()))

    # --- the clock ------------------------------------------------------------------------------

    def _arm(self) -> None:
        """One timer for the whole layer, looked at once per turn of the loop."""
        self._arming = False
        deadline = self._layer.next_deadline()
        if deadline is None or (self._timer is not None and self._deadline <= deadline):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._deadline = deadline
        self._timer = self._loop.call_at(deadline, self._due)

    def _due(self) -> None:
        self._timer = None
        self._perform(self._layer.handle_timeout(self._loop.time()))

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
