"""Instant messages in page mode, both ways (RFC 3428, RFC 7572).

In: a MESSAGE is answered when the bus has it: 200 when it is on its way to somebody, 202 when it waits. What
it may carry is in `sip.bodies`.
Out: one MESSAGE at a time per phone and in order (RFC 3428 §8), each on the phone's own flow. 2xx settles
it; silence leaves it waiting for the next REGISTER; a refusal is told to the sender.

Deviations, on purpose (docs/compliance): messages from phones are of type chat (RFC 7572 says normal,
which XMPP clients hide); Call-IDs out are unique, see `sip.profiles`.

Notices about messages (typing, reports) go only to phones known to take them (`sip.tastes`), and nobody is
ever told that one was not taken. For a phone that knows no reports, its 200 is one: the message is there.
"""

from __future__ import annotations

import zlib
from collections import OrderedDict, deque
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import structlog

from presence.address import Address
from presence.errors import Condition, Refused
from presence.messages import Accepted, ChatState, Delivery, InstantMessage, Report
from presence.model import Text
from presence.ports import Deliver, Failed, Metrics
from presence.service import PresenceService
from sip.addressing import resource_of, to_address
from sip.bodies import Heard, cpim, formats, heard_in, iscomposing
from sip.errors import ProtocolError, condition_to_status, status_to_condition
from sip.fitting import datagram_size
from sip.flow import Flow
from sip.message import Request, Response, respond
from sip.outgoing import PLAIN, build_message, envelope, media_of, stamp, write_report
from sip.registrar import Located, Registrar
from sip.runtime import Answer, Runtime, Sender, Silence
from sip.settings import SipSettings
from sip.tastes import Phone, Tastes

log = structlog.get_logger()

_TRANSIENT = frozenset((408, 480, 503, 504))
"The phone may take it later."
_REMEMBERED = 10_000
"Deliveries remembered, so that what the bus sends again is not sent to the phone again."
_TOLD = frozenset((Report.DELIVERED, Report.DISPLAYED))
"Reports that cross to the other side; a failure is told by the server that notices it."


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


class _Asked(NamedTuple):
    """A phone wants to hear what becomes of a message."""

    wants: tuple[Report, ...]
    sent: str
    "The date and time it wrote."


class Pager:
    def __init__(
        self,
        settings: SipSettings,
        service: PresenceService,
        registrar: Registrar,
        runtime: Runtime,
        sender: Sender,
        metrics: Metrics,
    ) -> None:
        self._settings = settings
        self._service = service
        self._registrar = registrar
        self._runtime = runtime
        self._sender = sender
        self._metrics = metrics
        self._lanes: dict[tuple[Address, str], _Lane] = {}
        self._delivered: OrderedDict[tuple[str, str], None] = OrderedDict()
        self._tastes = Tastes()
        self._asked: OrderedDict[tuple[Address, str], _Asked] = OrderedDict()
        "Sender and its name of a message → what it wants to hear."
        self._typing: OrderedDict[tuple[Address, Phone], None] = OrderedDict()
        "Who is typing, as a phone was told."

    # --- a MESSAGE from a phone -----------------------------------------------------------------

    async def receive(self, sender: Address, request: Request, flow: Flow, trace: str) -> Response:
        """The answer to an authenticated MESSAGE. Raises `ProtocolError`, `Unavailable`."""
        recipient = to_address(request.uri)
        if not recipient.local or not self._service.serves(recipient.domain):
            raise ProtocolError(404)
        heard = heard_in(request)
        phone = self._registrar.speaking(sender, flow)
        if phone is not None:
            self._learn((sender, phone.binding.endpoint), request)
        if not heard.text and heard.chat_state is None and heard.report not in _TOLD:
            self._metrics.count("sip_messages_in_total", outcome="not-shown")
            return respond(request, 200)
        message = self._message(sender, recipient, heard, request, phone, trace)
        if heard.wants:
            self._asked[sender, message.origin_id] = _Asked(heard.wants, heard.sent)
            if len(self._asked) > _REMEMBERED:
                self._asked.popitem(last=False)
        self._service.note(trace, "sip.in", recipient, sender, "MESSAGE")
        try:
            submission = await self._service.submit(message, _dedup(sender, request, flow))
        except Refused as refused:
            self._metrics.count("sip_messages_in_total", outcome="refused")
            headers = (("Retry-After", str(refused.retry_after)),) if refused.retry_after else ()
            status = condition_to_status(refused.condition, bare=False)
            raise ProtocolError(status, headers=headers) from None
        self._metrics.count("sip_messages_in_total", outcome=submission.accepted.value)
        live = submission.accepted is Accepted.LIVE or (
            submission.accepted is Accepted.DUPLICATE and submission.endpoints
        )
        return respond(request, 200 if live else 202)

    def _learn(self, phone: Phone, request: Request) -> None:
        taken = {media for media in formats() if any(kind.includes(media) for kind in request.accept or ())}
        if request.content_type is not None:
            taken.add(request.content_type.value.lower())
        self._tastes.learn(phone, taken)

    def _message(
        self,
        sender: Address,
        recipient: Address,
        heard: Heard,
        request: Request,
        phone: Located | None,
        trace: str,
    ) -> InstantMessage:
        now = self._runtime.now()
        lang = (request.headers.get("Content-Language") or "").strip()[:64]
        subject = request.headers.get("Subject") or ""
        resource = resource_of(request.uri)
        expires = request.expires
        endpoint = phone.binding.endpoint if phone is not None else ""
        state = heard.chat_state
        if heard.text and self._tastes.takes((sender, endpoint), iscomposing.CONTENT_TYPE):
            # XEP-0085 §5.1: by this the other side knows that it may say when it is typing.
            state = ChatState.ACTIVE
        return InstantMessage(
            id=trace,
            trace=trace,
            sender=sender,
            sender_endpoint=endpoint,
            sender_tuple=phone.binding.id if phone is not None else "",
            recipient=recipient,
            recipient_endpoint=f"xmpp:{resource}" if resource else "",
            origin_id=heard.id or request.via.branch[:256],
            bodies=(Text(heard.text, lang),) if heard.text else (),
            subjects=(Text(subject[:1024], lang),) if subject and heard.text else (),
            thread=request.call_id[:256] if heard.text else "",
            created=now,
            expires=now + expires if expires else None,
            # Expires: 0 is for now or never, and so is a typing notice.
            store=expires != 0 and bool(heard.text or heard.report),
            archived=bool(heard.text),
            chat_state=state,
            report=heard.report,
            about=heard.about,
            wants=tuple(each for each in heard.wants if each in _TOLD),
        )

    # --- messages for phones --------------------------------------------------------------------

    def deliver(self, envelope: Deliver) -> None:
        message = envelope.message
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
                self._send(lane, message, located)
        lane.pumping = False
        if not lane.busy:
            self._lanes.pop((lane.address, lane.endpoint), None)

    async def _find_and_send(self, lane: _Lane, message: InstantMessage) -> None:
        try:
            located = await self._registrar.find(lane.address, lane.endpoint)
        except Exception:
            self._give_up(lane, message)
            raise
        if located is None:
            self._give_up(lane, message)
        else:
            self._send(lane, message, located)

    def _send(self, lane: _Lane, message: InstantMessage, located: Located) -> None:
        if message.expires is not None and message.expires <= self._runtime.now():
            # A phone may not show it any more.
            self._done(lane, message, Delivery.UNREACHABLE)
            return
        request = self._written(lane, message, located)
        if request is None:
            self._done(lane, message, Delivery.DELIVERED)
            return
        if not located.flow.reliable and self._too_long(request):
            other = self._registrar.stream(located)
            if other is not None:
                located = other
            elif message.bodies and media_of(request) == cpim.CONTENT_TYPE:
                request = build_message(message, located, self._runtime.now())
            if not located.flow.reliable and self._too_long(request):
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
        self._sender.send(
            request, located.flow, partial(self._answered, lane, message, located, media_of(request))
        )

    def _written(self, lane: _Lane, message: InstantMessage, located: Located) -> Request | None:
        """The MESSAGE for this phone; None when there is nothing it could show."""
        now = self._runtime.now()
        phone = (lane.address, lane.endpoint)
        if message.bodies:
            if message.wants and message.origin_id and self._tastes.takes(phone, cpim.CONTENT_TYPE):
                return build_message(message, located, now, envelope(message, lane.address))
            return build_message(message, located, now)
        if message.report is not None and self._tastes.takes(phone, cpim.CONTENT_TYPE):
            asked = self._asked.get((lane.address, message.about))
            if asked is None or message.report in asked.wants:
                sent = (asked.sent if asked is not None else "") or stamp(message.created)
                return build_message(message, located, now, write_report(message, sent))
        elif message.chat_state is not None and self._tastes.takes(phone, iscomposing.CONTENT_TYPE):
            typing = message.chat_state is ChatState.COMPOSING
            # Of the states that are no typing only the end of typing is worth telling (RFC 3994 §3.2).
            if typing or (message.sender, phone) in self._typing:
                self._note_typing((message.sender, phone), typing)
                data = iscomposing.write_is_composing(message.chat_state)
                return build_message(message, located, now, (iscomposing.CONTENT_TYPE, data))
        return None

    def _note_typing(self, pair: tuple[Address, Phone], typing: bool) -> None:
        self._typing.pop(pair, None)
        if typing:
            self._typing[pair] = None
            if len(self._typing) > _REMEMBERED:
                self._typing.popitem(last=False)

    def _too_long(self, request: Request) -> bool:
        return datagram_size(request) > self._settings.max_datagram

    def _answered(
        self, lane: _Lane, message: InstantMessage, located: Located, media: str, answer: Answer
    ) -> None:
        status = answer.status
        if 200 <= status < 300:
            self._remember(message.id, lane.endpoint)
            self._service.note(message.trace, "sip.out", message.recipient, message.sender, lane.endpoint)
            self._done(lane, message, Delivery.DELIVERED)
            if message.bodies and Report.DELIVERED in message.wants and media != cpim.CONTENT_TYPE:
                self._runtime.spawn(self._report_delivery(message, located))
        elif status == 415 and media != PLAIN:
            # What it cannot read goes to it in plain text; a notice it cannot read was not worth a word.
            self._tastes.unlearn((lane.address, lane.endpoint), media)
            if message.bodies:
                self._send(lane, message, located)
            else:
                self._done(lane, message, Delivery.DELIVERED)
        elif not message.bodies and (not message.store or (answer.response and status not in _TRANSIENT)):
            self._done(lane, message, Delivery.DELIVERED)
        elif answer.response is None or status in _TRANSIENT:
            again = self._registrar.here(lane.address, lane.endpoint)
            if answer.silence is Silence.BROKEN and again is not None and again.flow != located.flow:
                # It has registered again over a new connection meanwhile.
                self._send(lane, message, again)
                return
            log.info(
                "phone_unreachable",
                address=str(lane.address),
                endpoint=lane.endpoint,
                reason=answer.silence.value if answer.silence else status,
                trace=message.trace,
            )
            self._give_up(lane, message)
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

    def _give_up(self, lane: _Lane, message: InstantMessage) -> None:
        """The phone does not answer: this message and all behind it wait for its return."""
        waiting = [message, *lane.waiting]
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
        lane.ids.discard(message.id)
        lane.busy = False
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
        """Say in place of a phone that knows no reports that the message is there; once for all phones."""
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
        asked = self._asked.get((failure.sender, failure.origin_id))
        if asked is None or Report.FAILED not in asked.wants:
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


def _dedup(sender: Address, request: Request, flow: Flow) -> str:
    """Names a MESSAGE for as long as it may be retransmitted. Call-ID and branch alone would not do: there
    are phones whose are the same in every process."""
    return (
        f"{sender} {flow.host} {flow.port} {request.call_id[:256]} {request.cseq.number}"
        f" {request.from_.tag[:64]} {zlib.crc32(request.body)}"
    )
