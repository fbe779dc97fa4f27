"""Messages on their way to phones (RFC 3428, RFC 7572 §5).

One MESSAGE at a time per phone and in order (RFC 3428 §8), each on the phone's own flow. 2xx settles it;
silence leaves it waiting for the next REGISTER; a refusal is told to the sender. What it looks like is
`sip.writing`'s; Call-IDs are unique, on purpose, see `sip.profiles`.

For a phone that knows no reports, its 200 is one: the message is there.

A phone that sleeps is woken (`sip.waking`), and what says something is held for the REGISTER that follows
(RFC 8599 §5.6.2). If none does, the message waits as for a phone that is off.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass, field
from functools import partial

import structlog

from presence.address import Address
from presence.errors import Condition, Refused, Unavailable
from presence.messages import Delivery, InstantMessage, Report
from presence.ports import Deliver, Failed, Metrics
from presence.service import PresenceService
from sip.assistant import Assistant
from sip.bindings import Binding
from sip.bodies import cpim
from sip.errors import status_to_condition
from sip.fitting import datagram_size, fits
from sip.flow import Flow
from sip.message import Request
from sip.outgoing import PLAIN, media_of
from sip.registrar import Located, Registrar
from sip.runtime import Answer, Runtime, Sender, Silence, Timer
from sip.settings import SipSettings
from sip.waking import BUCKET, Waker, Woken, dozes
from sip.writing import Writer, readable

log = structlog.get_logger()

_TRANSIENT = frozenset((408, 430, 477, 480, 503, 504))
"The phone may take it later."
_FLOW_FAILED = frozenset((408, 430, 477))
"It did not reach the phone on this flow (RFC 5626 §7). 477 is Kamailio's, for a connection that is gone."
_PROMPT = 4.0
"Seconds after which a phone is woken that does not answer on its connection."
_REMEMBERED = 10_000
"Deliveries remembered, so that what the bus sends again is not sent to the phone again."


@dataclass(slots=True)
class _Lane:
    """What one phone is still to be sent, in order."""

    address: Address
    endpoint: str
    waiting: deque[InstantMessage] = field(default_factory=deque)
    ids: set[str] = field(default_factory=set)
    "Messages waiting or under way."
    busy: bool = False
    "One is under way."
    pumping: bool = False
    "`_next` is at it already."
    parts: deque[InstantMessage] = field(default_factory=deque)
    "What follows of a text that goes in parts; the last one stands for all of it."
    held: InstantMessage | None = None
    "For the REGISTER of the phone, which was woken for it."
    timer: Timer | None = None

    def stop(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None


class Deliverer:
    def __init__(
        self,
        settings: SipSettings,
        service: PresenceService,
        registrar: Registrar,
        runtime: Runtime,
        sender: Sender,
        writer: Writer,
        assistant: Assistant,
        waker: Waker,
        metrics: Metrics,
    ) -> None:
        self._settings = settings
        self._service = service
        self._registrar = registrar
        self._runtime = runtime
        self._sender = sender
        self._writer = writer
        self._assistant = assistant
        self._waker = waker
        self._metrics = metrics
        self._lanes: dict[tuple[Address, str], _Lane] = {}
        self._delivered: OrderedDict[tuple[str, str], None] = OrderedDict()

    def deliver(self, envelope: Deliver) -> None:
        message = readable(envelope.message)
        for endpoint in envelope.endpoints:
            if not endpoint.startswith("sip:"):
                continue
            if (message.id, endpoint) in self._delivered:
                self._settle(message, endpoint, Delivery.DELIVERED)
                continue
            key = (message.recipient, endpoint)
            lane = self._lanes.get(key)
            if lane is None:
                lane = self._lanes[key] = _Lane(message.recipient, endpoint)
            if message.id in lane.ids:
                continue
            lane.ids.add(message.id)
            lane.waiting.append(message)
            self._next(lane)

    def _next(self, lane: _Lane) -> None:
        """Send the lane's next message, if there is one and none is under way."""
        if lane.pumping:
            return
        lane.pumping = True
        while lane.waiting and not lane.busy:
            message = lane.waiting.popleft()
            located = self._registrar.here(lane.address, lane.endpoint)
            lane.busy = True
            if located is None:
                self._runtime.spawn(self._find_and_send(lane, message))
            else:
                self._send_to(lane, message, located)
        lane.pumping = False
        if not lane.busy:
            self._lanes.pop((lane.address, lane.endpoint), None)

    async def _find_and_send(self, lane: _Lane, message: InstantMessage) -> None:
        try:
            located = await self._registrar.find(lane.address, lane.endpoint)
            sleeper = await self._registrar.sleeper(lane.address, lane.endpoint) if located is None else None
        except Exception:
            self._give_up(lane, message)
            raise
        if located is None:
            self._absent(lane, message, sleeper)
        else:
            self._send_to(lane, message, located)

    def _send_to(self, lane: _Lane, message: InstantMessage, located: Located) -> None:
        connected = located.flow.reliable and not located.flow.routed
        if _says(message) and not connected and dozes(located.binding, self._runtime.now()):
            self._absent(lane, message, located.binding)
        else:
            self._send(lane, message, located)

    def _send(
        self, lane: _Lane, message: InstantMessage, located: Located, tried: tuple[Flow, ...] = ()
    ) -> None:
        now = self._runtime.now()
        if message.expires is not None and message.expires <= now:
            # A phone may not show it any more.
            self._done(lane, message, Delivery.UNREACHABLE)
            return
        request = self._writer.write(message, (lane.address, lane.endpoint), located, now)
        if request is None:
            self._done(lane, message, Delivery.DELIVERED)
            return
        if not located.flow.reliable and self._too_long(request):
            other = self._registrar.stream(lane.address, located)
            if other is not None:
                located = other
            elif message.bodies and media_of(request) != PLAIN:
                request = self._writer.in_plain(message, located, now)
            if not located.flow.reliable and self._too_long(request):
                parts = self._writer.in_parts(message, located, now, self._settings.max_datagram)
                if parts:
                    lane.parts = deque(parts[1:])
                    self._send(lane, parts[0], located, tried)
                    return
                log.info(
                    "message_too_long", address=str(lane.address), endpoint=lane.endpoint, trace=message.trace
                )
                self._done(
                    lane,
                    message,
                    Delivery.REFUSED if message.bodies else Delivery.DELIVERED,
                    Condition.POLICY_VIOLATION,
                    "too long for the phone's transport",
                )
                return
        tried += (located.flow,)
        if located.binding.wakes and _says(message):
            lane.stop()
            nudge = partial(self._nudge, lane.address, located.binding)
            lane.timer = self._runtime.call_later(_PROMPT, nudge)
        self._sender.send(
            request, located.flow, partial(self._answered, lane, message, located, tried, media_of(request))
        )

    def waiting(self, address: Address, endpoint: str) -> int:
        """Messages that phone is still to be sent."""
        lane = self._lanes.get((address, endpoint))
        return len(lane.waiting) if lane is not None else 0

    def room(self, message: InstantMessage, located: Located) -> int:
        """Bytes its text may have more for it to fit a packet to this phone."""
        request = self._writer.in_plain(message, located, self._runtime.now())
        return self._settings.max_datagram - datagram_size(request)

    def _too_long(self, request: Request) -> bool:
        return not fits(request, self._settings.max_datagram)

    def _answered(
        self,
        lane: _Lane,
        message: InstantMessage,
        located: Located,
        tried: tuple[Flow, ...],
        media: str,
        answer: Answer,
    ) -> None:
        lane.stop()
        status = answer.status
        if 200 <= status < 300:
            self._remember(message.id, lane.endpoint)
            self._assistant.shown(message)
            self._service.note(message.trace, "sip.out", message.recipient, message.sender, lane.endpoint)
            self._done(lane, message, Delivery.DELIVERED)
            if message.bodies and Report.DELIVERED in message.wants and media != cpim.CONTENT_TYPE:
                self._runtime.spawn(self._report_delivery(message, located))
        elif status == 415 and media != PLAIN:
            # What it cannot read goes to it in plain text; a notice it cannot read was not worth a word.
            self._writer.tastes.unlearn((lane.address, lane.endpoint), media)
            if message.bodies:
                self._send(lane, message, located)
            else:
                self._done(lane, message, Delivery.DELIVERED)
        elif not message.bodies and (not message.store or (answer.response and status not in _TRANSIENT)):
            self._done(lane, message, Delivery.DELIVERED)
        elif answer.response is None or status in _TRANSIENT:
            failed = answer.status in _FLOW_FAILED or answer.silence in (Silence.TIMEOUT, Silence.BROKEN)
            another = self._after_failure(lane, located, tried, answer) if failed else None
            if another is not None:
                self._send(lane, message, another, tried)
                return
            log.info(
                "phone_unreachable",
                address=str(lane.address),
                endpoint=lane.endpoint,
                reason=answer.silence.value if answer.silence else status,
                trace=message.trace,
            )
            self._absent(lane, message, located.binding if failed else None)
        else:
            condition = status_to_condition(status)
            if status in (401, 407):
                # Somebody between us and the phone wants credentials: not the sender's fault.
                condition = Condition.INTERNAL
            reason = answer.response.reason
            log.info(
                "message_refused",
                address=str(lane.address),
                endpoint=lane.endpoint,
                status=status,
                trace=message.trace,
            )
            self._done(lane, message, Delivery.REFUSED, condition, reason)

    def _after_failure(
        self, lane: _Lane, located: Located, tried: tuple[Flow, ...], answer: Answer
    ) -> Located | None:
        """Another way to the phone, if it was the way that failed: another of its flows, or the one it has
        registered over meanwhile."""
        if answer.status == 430:
            self._runtime.spawn(self._registrar.lost(lane.address, located))
        elif answer.status in _FLOW_FAILED or answer.silence is Silence.TIMEOUT:
            self._registrar.doubt(located)
        return self._registrar.another(lane.address, lane.endpoint, tried)

    # --- phones that sleep ----------------------------------------------------------------------

    def _absent(self, lane: _Lane, message: InstantMessage, phone: Binding | None) -> None:
        """No way leads to the phone. `phone`: it may be one that can be woken."""
        if phone is None or not phone.wakes:
            self._give_up(lane, message)
        elif _says(message):
            self._runtime.spawn(self._wake(lane, message, phone))
        else:
            # Not worth waking anybody; what comes behind it may be.
            self._done(lane, message, Delivery.UNREACHABLE)

    async def _wake(self, lane: _Lane, message: InstantMessage, phone: Binding) -> None:
        try:
            woken = await self._waker.wake(lane.address, phone)
        except Exception:
            self._give_up(lane, message)
            raise
        here = self._registrar.here(lane.address, lane.endpoint)
        back = here is not None and here.binding.refreshed > phone.refreshed
        if back or woken is Woken.GONE:
            self._resume(lane, message)
        elif woken is Woken.RUNG:
            self._service.note(message.trace, "sip.push", message.recipient, detail=lane.endpoint)
            lane.held = message
            lane.timer = self._runtime.call_later(BUCKET, partial(self._slept_on, lane))
        else:
            self._give_up(lane, message)

    def _nudge(self, address: Address, phone: Binding) -> None:
        """It does not answer on its connection; it may be asleep."""
        self._runtime.spawn(self._ring(address, phone))

    async def _ring(self, address: Address, phone: Binding) -> None:
        await self._waker.wake(address, phone)

    def _slept_on(self, lane: _Lane) -> None:
        lane.timer = None
        message, lane.held = lane.held, None
        if message is not None:
            self._give_up(lane, message)

    def _resume(self, lane: _Lane, message: InstantMessage) -> None:
        lane.waiting.appendleft(message)
        lane.busy = False
        self._next(lane)

    def registered(self, address: Address, phone: Binding) -> None:
        """A phone is awake: what is held for it goes there."""
        self._waker.registered(address, phone)
        lane = self._lanes.get((address, phone.endpoint))
        if lane is not None and lane.held is not None:
            lane.stop()
            message, lane.held = lane.held, None
            self._resume(lane, message)

    def _give_up(self, lane: _Lane, message: InstantMessage) -> None:
        """The phone does not answer: this message and all behind it wait for its return."""
        waiting = [lane.parts[-1] if lane.parts else message, *lane.waiting]
        lane.parts.clear()
        lane.waiting.clear()
        for each in waiting:
            self._settle(each, lane.endpoint, Delivery.UNREACHABLE)
        lane.ids.clear()
        lane.busy = False
        self._next(lane)

    def _done(
        self,
        lane: _Lane,
        message: InstantMessage,
        delivery: Delivery,
        condition: Condition | None = None,
        text: str = "",
    ) -> None:
        lane.busy = False
        if lane.parts:
            if delivery is Delivery.DELIVERED:
                lane.waiting.appendleft(lane.parts.popleft())
                self._next(lane)
                return
            message = lane.parts[-1]
            lane.parts.clear()
        lane.ids.discard(message.id)
        self._settle(message, lane.endpoint, delivery, condition, text)
        self._next(lane)

    def _settle(
        self,
        message: InstantMessage,
        endpoint: str,
        delivery: Delivery,
        condition: Condition | None = None,
        text: str = "",
    ) -> None:
        self._metrics.count("sip_messages_out_total", outcome=delivery.value)
        if delivery is Delivery.DELIVERED:
            self._service.delivered(message, endpoint, _not_settled)
            return
        self._runtime.spawn(
            self._service.settle(
                message, endpoint, delivery, condition=condition.value if condition else "", text=text
            )
        )

    def _remember(self, message_id: str, endpoint: str) -> None:
        self._delivered[message_id, endpoint] = None
        if len(self._delivered) > _REMEMBERED:
            self._delivered.popitem(last=False)

    async def _report_delivery(self, message: InstantMessage, located: Located) -> None:
        """Say in place of a phone that knows no reports that the message is there; once for all phones, and
        only to who may know that there is one (XEP-0184, security considerations)."""
        if not await self._service.shows(message.recipient, message.sender):
            return
        report = InstantMessage(
            id="",
            trace=message.trace,
            created=0.0,
            sender=message.recipient,
            sender_tuple=located.binding.id,
            recipient=message.sender,
            recipient_endpoint=message.sender_endpoint,
            archived=False,
            report=Report.DELIVERED,
            about=message.origin_id,
        )
        try:
            await self._service.submit(report, f"report {message.id}")
        except Refused:
            self._metrics.count("sip_reports_refused_total")

    def failed(self, envelope: Failed) -> None:
        """A phone's message was refused by everybody, after its 200: told to a phone that asked to hear of
        it (RFC 5438 §7.2.1.3)."""
        failure = envelope.failure
        self._service.note(failure.trace, "sip.failed", failure.recipient, failure.sender, failure.condition)
        if not self._writer.promised(failure.sender, failure.origin_id, Report.FAILED):
            return
        report = InstantMessage(
            id=f"{failure.message_id}-failed",
            trace=failure.trace,
            created=self._runtime.now(),
            sender=failure.recipient,
            recipient=failure.sender,
            report=Report.FAILED,
            about=failure.origin_id,
        )
        self.deliver(Deliver(message=report, endpoints=(failure.sender_endpoint,)))

    @property
    def idle(self) -> bool:
        """Nothing is under way."""
        return not self._lanes

    def forget(self, address: Address) -> None:
        """The account is gone."""
        for key in [key for key in self._lanes if key[0] == address]:
            self._lanes[key].waiting.clear()
            self._lanes[key].parts.clear()


def _says(message: InstantMessage) -> bool:
    """Worth waking somebody: not typing, not a report."""
    return message.store and bool(message.bodies)


def _not_settled(message: InstantMessage, lost: Unavailable) -> None:
    """The bus drives it again, and we know it by its id."""
    log.info("settle_failed", message=message.id, reason=str(lost), trace=message.trace)
