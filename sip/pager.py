"""Instant messages from phones, in page mode (RFC 3428, RFC 7572).

A MESSAGE is answered when the bus has it: 200 when it is on its way to somebody, 202 when it waits. Who may
not see whether the recipient is there is told 202 whatever becomes of it, and takes as long to hear. To a
neighbour's people it goes at once, with 202, or not at all: 504. What it may carry is in `sip.bodies`; the
other way is `sip.delivery`.

A deviation, on purpose (docs/compliance): messages from phones are of type chat (RFC 7572 says normal, which
XMPP clients hide).

# GAP RFC 3841: Accept-Contact and Reject-Contact are not read: a message is for all of somebody's phones and
# clients, or for the one that its GRUU names
"""

from __future__ import annotations

import hashlib

import structlog

from presence.address import Address
from presence.errors import Condition, Refused
from presence.messages import Accepted, ChatState, InstantMessage
from presence.model import Text
from presence.ports import Metrics
from presence.service import PresenceService
from sip.assistant import Assistant
from sip.bodies import Heard, formats, heard_in, iscomposing
from sip.bodies.file import CONTENT_TYPE as FILE
from sip.desk import Desk
from sip.errors import BadHeader, ProtocolError, condition_to_status
from sip.flow import Flow
from sip.grammar import language
from sip.loops import hops_left
from sip.message import Request, Response, respond
from sip.registrar import Located, Registrar
from sip.runtime import Runtime
from sip.tastes import Phone
from sip.topology import origin_of
from sip.writing import TOLD, Asked, Writer

log = structlog.get_logger()

_SHOWN_FOR = 10.0
"Seconds for which it is not looked up again whether a sender may see the recipient."
_REMEMBERED = 10_000


class Pager:
    def __init__(
        self,
        service: PresenceService,
        registrar: Registrar,
        runtime: Runtime,
        writer: Writer,
        assistant: Assistant,
        desk: Desk,
        metrics: Metrics,
    ) -> None:
        self._service = service
        self._registrar = registrar
        self._runtime = runtime
        self._writer = writer
        self._assistant = assistant
        self._desk = desk
        self._metrics = metrics
        self._shown: dict[tuple[Address, Address], float] = {}
        "Recipient and sender, who may see them → until when that is not looked up again."

    async def receive(self, sender: Address, request: Request, flow: Flow, trace: str) -> Response:
        """The answer to an authenticated MESSAGE. Raises `ProtocolError`, `Unavailable`."""
        recipient, named = await self._registrar.target(request.uri)
        heard = heard_in(request)
        phone = self._registrar.speaking(sender, flow, origin_of(request))
        if phone is not None:
            self._learn((sender, phone.binding.endpoint), request, heard)
        about = heard.about
        if heard.report is not None:
            about = self._writer.meant(sender, heard.report, about)
        if not heard.text and heard.chat_state is None and (heard.report not in TOLD or not about):
            self._metrics.count("sip_messages_in_total", outcome="not-shown")
            return respond(request, 200)
        if self._assistant.is_at(recipient):
            if heard.text and not await self._desk.asked(sender, phone, heard.text, trace):
                await self._assistant.heard(sender, heard.text, trace)
            self._metrics.count("sip_messages_in_total", outcome="assistant")
            return respond(request, 200)
        # What nobody would wait for is only taken note of.
        shown = bool(heard.text or heard.report) and await self._shows(recipient, sender)
        if shown and named:
            await self._registrar.must_be_there(recipient, named)
        message = self._message(sender, recipient, named, heard, about, request, phone, trace)
        if heard.wants:
            self._writer.promise(sender, message.origin_id, Asked(heard.wants, heard.sent))
        self._service.note(trace, "sip.in", recipient, sender, "MESSAGE")
        try:
            submission = await self._service.submit(message, _dedup(sender, request, flow))
        except Refused as refused:
            self._metrics.count("sip_messages_in_total", outcome="refused")
            headers = (("Retry-After", str(refused.retry_after)),) if refused.retry_after else ()
            status = condition_to_status(refused.condition, bare=False)
            full = refused.condition is Condition.RESOURCE_CONSTRAINT
            raise ProtocolError(status, refused.text if full else "", headers) from None
        self._metrics.count("sip_messages_in_total", outcome=submission.accepted.value)
        live = submission.accepted is Accepted.LIVE or (
            submission.accepted is Accepted.DUPLICATE and submission.endpoints
        )
        return respond(request, 200 if (live and shown) or not message.bodies else 202)

    async def _shows(self, recipient: Address, sender: Address) -> bool:
        """Whether the sender may see if the recipient is there; a yes is asked for once in a while."""
        pair, now = (recipient, sender), self._runtime.now()
        if self._shown.get(pair, 0.0) > now:
            return True
        shown = await self._service.shows(recipient, sender)
        if shown:
            if len(self._shown) >= _REMEMBERED:
                self._shown.clear()
            self._shown[pair] = now + _SHOWN_FOR
        else:
            self._shown.pop(pair, None)
        return shown

    def announced(self, phone: Phone, request: Request) -> None:
        """A REGISTER of that phone names media types it takes; what stands for any of them names none, nor
        does what cannot be understood: the phone is registered already."""
        try:
            accept = request.accept
        except BadHeader:
            return
        if accept is not None:
            named = {kind.value.lower() for kind in accept}
            self._writer.tastes.announce(phone, named & formats().keys())

    def _learn(self, phone: Phone, request: Request, heard: Heard) -> None:
        taken = {media for media in formats() if any(kind.includes(media) for kind in request.accept or ())}
        if request.content_type is not None:
            taken.add(request.content_type.value.lower())
        if heard.file is not None:  # perhaps in an envelope
            taken.add(FILE)
        self._writer.tastes.learn(phone, taken)

    def _message(
        self,
        sender: Address,
        recipient: Address,
        named: str,
        heard: Heard,
        about: str,
        request: Request,
        phone: Located | None,
        trace: str,
    ) -> InstantMessage:
        now = self._runtime.now()
        spoken = request.headers.get("Content-Language")
        lang = language(spoken) if spoken else ""
        subject = request.headers.get("Subject") or ""
        expires = request.expires
        endpoint = phone.binding.endpoint if phone is not None else ""
        state = heard.chat_state
        if heard.text and self._writer.tastes.takes((sender, endpoint), iscomposing.CONTENT_TYPE):
            # XEP-0085 §5.1: by this the other side knows that it may say when it is typing.
            state = ChatState.ACTIVE
        return InstantMessage(
            id=trace,
            trace=trace,
            sender=sender,
            sender_endpoint=endpoint,
            sender_tuple=phone.binding.id if phone is not None else "",
            recipient=recipient,
            recipient_endpoint=named,
            hops=hops_left(request),
            origin_id=heard.id or request.via.branch[:256],
            bodies=(Text(heard.text, lang),) if heard.text else (),
            markup=heard.markup if heard.text else "",
            file=heard.file,
            subjects=(Text(subject[:1024], lang),) if subject and heard.text else (),
            thread=request.call_id[:256] if heard.text else "",
            created=now,
            expires=now + expires if expires else None,
            # Expires: 0 is for now or never, and so is a typing notice.
            store=expires != 0 and bool(heard.text or heard.report),
            archived=bool(heard.text),
            chat_state=state,
            report=heard.report,
            about=about,
            wants=tuple(each for each in heard.wants if each in TOLD),
        )


def _dedup(sender: Address, request: Request, flow: Flow) -> str:
    """Names a MESSAGE for as long as it may be retransmitted. Call-ID and branch alone would not do: there
    are phones whose are the same in every process, and some have no branch (RFC 2543)."""
    sent = f"{flow.host}\n{flow.port}\n{request.call_id}\n{request.cseq.number}\n{request.from_.tag}\n"
    digest = hashlib.blake2b(sent.encode("utf-8", "replace") + request.body, digest_size=16)
    return f"{sender} {digest.hexdigest()}"
