"""Instant messages in page mode, both ways (RFC 3428, RFC 7572).

In: a MESSAGE is answered when the bus has it: 200 when it is on its way to somebody, 202 when it waits.
What phones exchange about messages (typing, receipts) is taken and not shown.
Out: one MESSAGE at a time per phone and in order (RFC 3428 §8), each on the phone's own flow. 2xx settles
it; silence leaves it waiting for the next REGISTER; a refusal is told to the sender.

Deviations, on purpose (docs/compliance): messages from phones are of type chat (RFC 7572 says normal,
which XMPP clients hide); Call-IDs out are unique, see `sip.profiles`.

# GAP RFC 3428 §5: no CPIM
# GAP RFC 7572 §6: text/html is refused
"""

from __future__ import annotations

import zlib
from collections import OrderedDict, deque
from dataclasses import dataclass, field
from email.utils import formatdate
from functools import lru_cache, partial

import structlog

from presence.address import Address
from presence.errors import Condition, Refused
from presence.messages import Accepted, Delivery, InstantMessage
from presence.model import Text
from presence.ports import Deliver, Failed, Metrics
from presence.service import PresenceService
from sip.addressing import resource_of, to_address, to_uri
from sip.errors import ProtocolError, condition_to_status, status_to_condition
from sip.fitting import datagram_size
from sip.flow import Flow
from sip.headers import CSeq
from sip.message import Headers, Request, Response, new_tag, respond
from sip.profiles import profile_of
from sip.registrar import Located, Registrar
from sip.runtime import Answer, Runtime, Sender, Silence
from sip.settings import SipSettings
from sip.uri import parse_uri

log = structlog.get_logger()

ACCEPT = "text/plain"
_ABOUT_MESSAGES = frozenset(("application/im-iscomposing+xml", "message/imdn+xml"))
"Taken with 200 and not shown (RFC 3994, RFC 5438)."
_CHARSETS = {"us-ascii": "utf-8", "ascii": "utf-8", "unicode-1-1-utf-8": "utf-8"}
_KNOWN_CHARSETS = frozenset(
    [
        "utf-8",
        "utf-16",
        "utf-16le",
        "utf-16be",
        "iso-8859-1",
        "iso-8859-15",
        "latin-1",
        "windows-1252",
        "windows-1251",
        "koi8-r",
        "gb2312",
        "gbk",
        "gb18030",
        "big5",
        "shift_jis",
        "euc-jp",
        "euc-kr",
    ]
)
_TRANSIENT = frozenset((408, 480, 503, 504))
"The phone may take it later."
_REMEMBERED = 10_000
"Deliveries remembered, so that what the bus sends again is not sent to the phone again."
_FIRST = CSeq(1, "MESSAGE")
_LINE_BREAKS = str.maketrans(dict.fromkeys("\r\n\x00", " "))


# --- in -------------------------------------------------------------------------------------------


def decode_text(body: bytes, charset: str) -> str:
    """A text body. What claims to be UTF-8 and is not is read as Latin-1. Raises `ProtocolError` 415."""
    charset = _CHARSETS.get(charset, charset)
    if charset not in _KNOWN_CHARSETS:
        raise ProtocolError(415, headers=(("Accept", f"{ACCEPT};charset=utf-8"),))
    try:
        text = body.decode(charset)
    except UnicodeDecodeError:
        text = body.decode("latin-1")
    return text.replace("\0", "").replace("\r\n", "\n")


def shown_text(request: Request) -> str | None:
    """The text of a MESSAGE; None for one that is only about messages. Raises `ProtocolError` 415."""
    content_type = request.content_type
    media = content_type.value if content_type is not None else "text/plain"
    if media in _ABOUT_MESSAGES:
        return None
    if media != "text/plain":
        raise ProtocolError(415, headers=(("Accept", ACCEPT),))
    encoding = (request.headers.get("Content-Encoding") or "identity").strip().lower()
    if encoding != "identity":
        raise ProtocolError(415, headers=(("Accept-Encoding", "identity"),))
    return decode_text(request.body, content_type.charset if content_type is not None else "utf-8")


# --- out ------------------------------------------------------------------------------------------


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

    # --- a MESSAGE from a phone -----------------------------------------------------------------

    async def receive(self, sender: Address, request: Request, flow: Flow, trace: str) -> Response:
        """The answer to an authenticated MESSAGE. Raises `ProtocolError`, `Unavailable`."""
        recipient = to_address(request.uri)
        if not recipient.local or not self._service.serves(recipient.domain):
            raise ProtocolError(404)
        text = shown_text(request)
        if text is None:
            self._metrics.count("sip_messages_in_total", outcome="not-shown")
            return respond(request, 200)
        if not text:
            return respond(request, 200)
        message = self._message(sender, recipient, text, request, flow, trace)
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

    def _message(
        self, sender: Address, recipient: Address, text: str, request: Request, flow: Flow, trace: str
    ) -> InstantMessage:
        now = self._runtime.now()
        lang = (request.headers.get("Content-Language") or "").strip()[:64]
        subject = request.headers.get("Subject") or ""
        resource = resource_of(request.uri)
        phone = self._registrar.speaking(sender, flow)
        expires = request.expires
        return InstantMessage(
            id=trace,
            trace=trace,
            sender=sender,
            sender_endpoint=phone.binding.endpoint if phone is not None else "",
            sender_tuple=phone.binding.id if phone is not None else "",
            recipient=recipient,
            recipient_endpoint=f"xmpp:{resource}" if resource else "",
            origin_id=request.via.branch[:256],
            bodies=(Text(text, lang),),
            subjects=(Text(subject[:1024], lang),) if subject else (),
            thread=request.call_id[:256],
            created=now,
            expires=now + expires if expires else None,
            # Expires: 0 is for now or never.
            store=expires != 0,
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
        if not message.bodies or (message.expires is not None and message.expires <= self._runtime.now()):
            # Nothing a phone could show, or nothing it may show any more.
            self._done(lane, message, Delivery.DELIVERED if not message.bodies else Delivery.UNREACHABLE)
            return
        request = build_message(message, located, self._runtime.now())
        if not located.flow.reliable and self._too_long(request):
            other = self._registrar.stream(located)
            if other is None:
                log.info(
                    "message_too_long", address=str(lane.address), endpoint=lane.endpoint, trace=message.trace
                )
                self._done(
                    lane,
                    message,
                    Delivery.REFUSED,
                    Condition.POLICY_VIOLATION,
                    "too long for the phone's transport",
                )
                return
            located = other
        self._sender.send(request, located.flow, partial(self._answered, lane, message, located))

    def _too_long(self, request: Request) -> bool:
        return datagram_size(request) > self._settings.max_datagram

    def _answered(self, lane: _Lane, message: InstantMessage, located: Located, answer: Answer) -> None:
        status = answer.status
        if 200 <= status < 300:
            self._remember(message.id, lane.endpoint)
            self._service.note(message.trace, "sip.out", message.recipient, message.sender, lane.endpoint)
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

    def failed(self, envelope: Failed) -> None:
        """A phone's message was refused by everybody, long after its 200. Phones have no way to hear of it.

        GAP RFC 5438: no failure notification
        """
        failure = envelope.failure
        self._service.note(failure.trace, "sip.failed", failure.recipient, failure.sender, failure.condition)

    @property
    def idle(self) -> bool:
        """Nothing is under way."""
        return not self._lanes

    def forget(self, address: Address) -> None:
        """The account is gone."""
        for key in [key for key in self._lanes if key[0] == address]:
            self._lanes[key].waiting.clear()


def build_message(message: InstantMessage, located: Located, now: float) -> Request:
    """The MESSAGE for one phone, without Via (RFC 7572 §5, table 1)."""
    binding = located.binding
    profile = profile_of(binding.agent)
    body = message.bodies[0]
    sender = to_uri(message.sender, message.sender_tuple if profile.gruu_in_from else "")
    call_id = message.thread if message.thread and not profile.unique_call_ids else message.id
    fields = {"Route": list(binding.path)} if binding.path else {}
    fields["Max-Forwards"] = ["70"]
    fields["From"] = [f"<{sender}>;tag={new_tag()}"]
    fields["To"] = [f"<{to_uri(message.recipient)}>"]
    fields["Call-ID"] = [call_id.translate(_LINE_BREAKS).replace(" ", "-")]
    fields["CSeq"] = ["1 MESSAGE"]
    fields["Date"] = [_date(int(message.created))]
    if message.expires is not None:
        fields["Expires"] = [str(max(1, int(message.expires - now)))]
    if message.subjects:
        fields["Subject"] = [message.subjects[0].text.translate(_LINE_BREAKS)[:1024]]
    if body.lang and body.lang.isascii() and body.lang.isprintable():
        fields["Content-Language"] = [body.lang]
    fields["Content-Type"] = ["text/plain;charset=utf-8"]
    headers = Headers.adopt(fields)
    headers.know("CSeq", _FIRST)
    return Request("MESSAGE", parse_uri(binding.contact), headers, body.text.encode("utf-8", "replace"))


@lru_cache(maxsize=256)
def _date(seconds: int) -> str:
    return formatdate(seconds, usegmt=True)


def _dedup(sender: Address, request: Request, flow: Flow) -> str:
    """Names a MESSAGE for as long as it may be retransmitted. Call-ID and branch alone would not do: there
    are phones whose are the same in every process."""
    return (
        f"{sender} {flow.host} {flow.port} {request.call_id[:256]} {request.cseq.number}"
        f" {request.from_.tag[:64]} {zlib.crc32(request.body)}"
    )
