"""BOSH (XEP-0124) with XMPP in it (XEP-0206): one session as the connection manager sees it, without input or
output.

A request is known by its ticket, whatever that is; each is answered once. Requests are taken, and answered,
in the order of their `rid`. What was answered is kept until the client must have it, and said again when the
request comes again.

GAP XEP-0124 §16: one session carries one stream
"""

from __future__ import annotations

import hashlib
import hmac
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import inf
from xml.parsers.expat import ExpatError

from xmpp.document import parse_document
from xmpp.effects import Opened
from xmpp.element import LANG, STREAM_NS, Element
from xmpp.errors import StreamError
from xmpp.framing import standalone
from xmpp.reader import Restricted, new_expat
from xmpp.serialiser import escape_attribute, escape_text
from xmpp.stream import Event, StanzaReceived, StreamClosed, StreamOpened

NS = "http://jabber.org/protocol/httpbind"
XBOSH_NS = "urn:xmpp:xbosh"
MAX_RID = 2**53 - 1
VERSION = (1, 11)
MAX_REPEATS = 10
"Times one request may be repeated."
LATE = 2.0
"Seconds after which a response that the client does not have is worth a word (§9.2)."
LEGACY = {"bad-request": 400, "policy-violation": 403, "item-not-found": 404}
"For clients that told no version (§17.2)."
_STREAM = b"<stream:"


class BindingError(Exception):
    """What ends a session, or keeps one from beginning (§17.2)."""

    def __init__(self, condition: str, status: int = 200) -> None:
        super().__init__(condition)
        self.condition = condition
        self.status = status


@dataclass(frozen=True, slots=True)
class Terms:
    """What a session may do. Seconds."""

    wait: int
    hold: int
    inactivity: int
    pause: int
    polling: int = 2

    @property
    def requests(self) -> int:
        return self.hold + 1


Ticket = object


@dataclass(frozen=True, slots=True)
class Answer:
    ticket: Ticket
    data: bytes
    status: int = 200


@dataclass(frozen=True, slots=True)
class Received:
    """For the stream, in order."""

    events: tuple[Event, ...]


@dataclass(frozen=True, slots=True)
class Confirmed:
    """The client has everything that was sent."""


@dataclass(frozen=True, slots=True)
class Ended:
    """The session is over without the stream's doing: `lost`, also where the client knows less or more than
    we do, or the rule it broke."""

    reason: str


BoshEffect = Answer | Received | Confirmed | Ended


@dataclass(slots=True)
class _Request:
    rid: int
    ticket: Ticket
    element: Element
    since: float
    repeats: int = 0


@dataclass(slots=True)
class _Response:
    data: bytes
    at: float
    full: bool
    "It has payloads."
    repeats: int = 0


class _Seen(Exception):
    """The start tag is read, and no more is wanted."""


def peek_sid(beginning: bytes) -> str | None:
    """The `sid` in the start tag a request begins with; empty: it has none. None: the tag has no end yet.
    Raises `BindingError`."""
    sid = ""

    def start(_: str, attrs: dict[str, str]) -> None:
        nonlocal sid
        sid = attrs.get("sid", "")
        raise _Seen

    parser = new_expat(start, lambda _: None, lambda _: None)
    try:
        parser.Parse(beginning, False)
    except _Seen:
        return sid
    except (ExpatError, Restricted):
        raise BindingError("bad-request") from None
    return None


def read_body(data: bytes, *, max_depth: int) -> Element:
    """The wrapper element of a request (§6). Raises `BindingError`."""
    try:
        element = parse_document(data, max_depth=max_depth + 1)
    except StreamError:
        raise BindingError("bad-request") from None
    if (element.ns, element.name) != (NS, "body"):
        raise BindingError("bad-request")
    return element


def write_body(attrs: dict[str, str], payloads: Iterable[bytes] = ()) -> bytes:
    inner = [each if each.startswith(_STREAM) else standalone(each) for each in payloads]
    declared = f" xmlns:stream='{STREAM_NS}'" if any(each.startswith(_STREAM) for each in inner) else ""
    said = "".join(f" {name}='{escape_attribute(value)}'" for name, value in attrs.items())
    start = f"<body xmlns='{NS}'{declared}{said}".encode()
    return start + b">" + b"".join(inner) + b"</body>" if inner else start + b"/>"


def write_refusal(condition: str, uri: str = "") -> bytes:
    """A session ends, or does not begin; `uri`: of `see-other-uri`."""
    inner = [f"<uri>{escape_text(uri)}</uri>".encode()] if uri else []
    return write_body({"type": "terminate", "condition": condition}, inner)


def _number(element: Element, name: str, default: int | None = None) -> int:
    said = element.get(name)
    if not said and default is not None:
        return default
    if not said.isascii() or not said.isdigit() or len(said) > 16 or int(said) > MAX_RID:
        raise BindingError("bad-request")
    return int(said)


def _opened(element: Element) -> StreamOpened:
    """XEP-0206 §3, §5."""
    version = element.get(f"{{{XBOSH_NS}}}version", "1.0")
    return StreamOpened(element.get("to"), element.get("from"), version, element.get(LANG))


def agree(element: Element, allowed: Terms) -> Terms:
    """The terms of a new session: what the client asks for, within what is allowed (§7). Raises
    `BindingError`."""
    wait = min(_number(element, "wait", allowed.wait), allowed.wait)
    hold = min(_number(element, "hold", 1), allowed.hold)
    return replace(allowed, wait=wait, hold=hold)


class BoshSession:
    """To be made from the first request, whose stream header is the first event; nothing is answered before
    our own header is known (`opened`)."""

    def __init__(self, sid: str, element: Element, ticket: Ticket, allowed: Terms, now: float) -> None:
        """Raises `BindingError`."""
        self.sid = sid
        self.terms = agree(element, allowed)
        self.first = _opened(element)
        self._version = _version(element.get("ver"))
        self._acks = element.get("ack") == "1"
        self._key = element.get("newkey").lower()
        self._rid = _number(element, "rid")
        "Highest that was taken."
        self._held: deque[_Request] = deque([_Request(self._rid, ticket, element, now)])
        "Taken and not answered, in order."
        self._early: dict[int, _Request] = {}
        "Came before others with a lower number."
        self._creation: dict[str, str] | None = {}
        "What the first answer tells; None when it was given."
        self._header: Opened | None = None
        self._payloads: list[bytes] = []
        self._sent: dict[int, _Response] = {}
        "Answers the client may not have, by rid."
        self._answered = now
        "When the last answer was given."
        self._inactivity: float = self.terms.inactivity
        self._last = -inf
        "When the last request that was taken had come."
        self._empties = False
        "That was empty, and so was its answer."
        self._report: tuple[int, float] | None = None
        self._final: bytes | None = None
        "Said to whoever still asks."
        self.over = False

    # --- requests -----------------------------------------------------------------------------------------

    def receive(self, element: Element, ticket: Ticket, now: float) -> list[BoshEffect]:
        """The next request of the client, or an old one again."""
        if self._final is not None:
            self.over = True
            return [Answer(ticket, self._final)]
        try:
            return self._receive(element, ticket, now)
        except BindingError as error:
            return self._terminate(error.condition, ticket, now)

    def _receive(self, element: Element, ticket: Ticket, now: float) -> list[BoshEffect]:
        rid = _number(element, "rid")
        for waiting in (*self._held, *self._early.values()):
            if waiting.rid == rid:  # §14.3
                dead, waiting.ticket = waiting.ticket, ticket
                waiting.repeats += 1
                if waiting.repeats > MAX_REPEATS:
                    raise BindingError("policy-violation")
                return [Answer(dead, write_body({"type": "error"}))]
        if rid <= self._rid:
            known = self._sent.get(rid)
            if known is None:
                raise BindingError("item-not-found")
            known.repeats += 1
            if known.repeats > MAX_REPEATS:
                raise BindingError("policy-violation")
            return [Answer(ticket, known.data)]
        if rid > self._rid + self.terms.requests + _is_extra(element):  # §14.2
            raise BindingError("item-not-found")
        self._early[rid] = _Request(rid, ticket, element, now)
        effects: list[BoshEffect] = []
        while self._final is None and (request := self._early.pop(self._rid + 1, None)) is not None:
            effects += self._take(request, now)
        return effects

    def _take(self, request: _Request, now: float) -> list[BoshEffect]:
        """The one whose turn it is."""
        element = request.element
        self._rid = request.rid
        self._check_key(element)
        self._check_pace(element, request.since)
        self._last = request.since
        self._empties = not element.elements
        effects = self._acknowledged(element, now)
        self._inactivity = self.terms.inactivity
        events = _events(element)
        if events:
            effects.append(Received(events))
        self._held.append(request)
        if element.get("pause"):
            return effects + self._pause(_number(element, "pause"), now)
        return effects + self._answer(now)

    def _check_key(self, element: Element) -> None:
        """§15."""
        if self._key:
            made = hashlib.sha1(element.get("key").lower().encode()).hexdigest()
            if not hmac.compare_digest(made.encode(), self._key.encode()):
                raise BindingError("item-not-found")
            self._key = (element.get("newkey") or element.get("key")).lower()

    def _check_pace(self, element: Element, since: float) -> None:
        """§11 for all, §12 for those that poll. `since`: when it came, be it before its turn."""
        if element.elements or _is_extra(element) or element.get(f"{{{XBOSH_NS}}}restart"):
            return
        polls = not (self.terms.hold and self.terms.wait)
        crowded = self._empties if polls else len(self._held) + 1 >= self.terms.requests
        if crowded and abs(since - self._last) < self.terms.polling:
            raise BindingError("policy-violation")

    def _acknowledged(self, element: Element, now: float) -> list[BoshEffect]:
        """Forget answers that the client has: by its word (§9.2), or because it could not have sent this
        request otherwise."""
        upto = self._rid - self.terms.requests - _is_extra(element)
        if self._acks:
            told = _number(element, "ack", self._rid - 1)
            upto = max(upto, told)
            missing = self._sent.get(told + 1)
            if missing is not None and now - missing.at >= LATE:
                self._report = (told + 1, missing.at)
        full = [rid for rid, response in self._sent.items() if response.full]
        for rid in [rid for rid in self._sent if rid <= upto]:
            del self._sent[rid]
        return [Confirmed()] if full and full[-1] <= upto and not self._payloads else []

    def _pause(self, seconds: int, now: float) -> list[BoshEffect]:
        """§10: answer all; what is to be sent waits."""
        if seconds > self.terms.pause:
            raise BindingError("policy-violation")
        effects: list[BoshEffect] = []
        while self._held:
            effects.append(self._respond((), now))
        self._inactivity = seconds
        return effects

    # --- answers ------------------------------------------------------------------------------------------

    def opened(self, header: Opened) -> None:
        """Our stream header (XEP-0206 §4); what is sent next goes with it."""
        self._header = header

    def send(self, payloads: Sequence[bytes], now: float) -> list[BoshEffect]:
        """Elements for the client, as `xmpp.host.Outbound.send` has them."""
        self._payloads += payloads
        return self._answer(now)

    def _answer(self, now: float) -> list[BoshEffect]:
        """Whatever can be said now, and to whom may not be held any longer."""
        if self._creation is not None and self._header is None:
            return []
        effects: list[BoshEffect] = []
        if self._held and (self._payloads or self._report is not None):
            payloads, self._payloads = self._payloads, []
            effects.append(self._respond(payloads, now))
        hold = self.terms.hold if self.terms.wait else 0
        while len(self._held) > hold:
            effects.append(self._respond((), now))
        return effects

    def _respond(self, payloads: Sequence[bytes], now: float, **attrs: str) -> Answer:
        """To the oldest request."""
        request = self._held.popleft()
        if self._creation is not None:
            attrs |= self._created()
        elif self._rid != request.rid:  # §9.1
            attrs["ack"] = str(self._rid)
        if self._report is not None:
            rid, at = self._report
            attrs |= {"report": str(rid), "time": str(int((now - at) * 1000))}
            self._report = None
        data = write_body(attrs, payloads)
        self._sent[request.rid] = _Response(data, now, bool(payloads))
        self._answered = now
        self._empties = self._empties and not payloads
        return Answer(request.ticket, data)

    def _created(self) -> dict[str, str]:
        """§7.2, XEP-0206 §4."""
        terms, header = self.terms, self._header
        self._creation = None
        attrs = {
            "sid": self.sid,
            "wait": str(terms.wait),
            "hold": str(terms.hold),
            "requests": str(terms.requests),
            "inactivity": str(terms.inactivity),
            "polling": str(terms.polling),
            "maxpause": str(terms.pause),
            "ack": str(self._rid),
            "xmlns:xmpp": XBOSH_NS,
            "xmpp:version": "1.0",
            "xmpp:restartlogic": "true",
        }
        if self._version is not None:
            attrs["ver"] = "{}.{}".format(*min(self._version, VERSION))
        if header is not None:
            attrs |= {"from": header.domain, "authid": header.id}
        return attrs

    # --- time ---------------------------------------------------------------------------------------------

    def next_deadline(self) -> float:
        """When `handle_timeout` is to be called."""
        if self.over or self._final is not None or self._creation is not None:
            return inf
        waiting = [request.since for request in (*self._held, *self._early.values())]
        if waiting:
            return min(waiting) + (self.terms.wait or 1)
        return self._answered + self._inactivity

    def handle_timeout(self, now: float) -> list[BoshEffect]:
        effects: list[BoshEffect] = []
        if now < self.next_deadline():
            return effects
        wait = self.terms.wait or 1
        while self._held and self._held[0].since + wait <= now:
            effects.append(self._respond((), now))
        for rid, request in list(self._early.items()):  # what should come before it does not (§17.3)
            if request.since + wait <= now:
                del self._early[rid]
                self._answered = now
                effects.append(Answer(request.ticket, write_body({"type": "error"})))
        idle = not self._held and not self._early
        if idle and now >= self._answered + self._inactivity:
            self.over = True
            effects.append(Ended("lost"))
        return effects

    def disconnected(self, ticket: Ticket, now: float) -> list[BoshEffect]:
        """A request's connection broke before it was answered; the client will ask again, or not."""
        for rid, request in list(self._early.items()):
            if request.ticket == ticket:
                del self._early[rid]
        held = list(self._held)
        for number, request in enumerate(held):
            if request.ticket != ticket:
                continue
            if self._creation is not None:
                self.over = True
                return [Ended("lost")]
            if number == 0:
                return [self._respond((), now)]
        return []

    # --- the end ------------------------------------------------------------------------------------------

    def finish(self, payloads: Sequence[bytes], error: bytes | None, now: float) -> list[BoshEffect]:
        """The stream is over: say what is left, then `error`, a `<stream:error/>` if there is one (XEP-0206
        §7)."""
        payloads, self._payloads = [*self._payloads, *payloads], []
        attrs = {"type": "terminate"}
        if error is not None:
            payloads.append(error)
            attrs["condition"] = "remote-stream-error"
        self._final = write_body(attrs, payloads)
        return self._last_words(now, attrs, payloads)

    def _last_words(self, now: float, attrs: dict[str, str], payloads: Sequence[bytes]) -> list[BoshEffect]:
        """To the oldest request; the others hear nothing (§13)."""
        effects: list[BoshEffect] = []
        if self._held:
            if self._creation is not None and self._header is not None:
                attrs = attrs | self._created()
            effects.append(self._respond(payloads, now, **attrs))
            self.over = True
        rest = [*self._held, *self._early.values()]
        effects += [Answer(request.ticket, write_body({})) for request in rest]
        self._held.clear()
        self._early.clear()
        return effects

    def _terminate(self, condition: str, ticket: Ticket, now: float) -> list[BoshEffect]:
        """The client broke a rule of the binding."""
        final = write_refusal(condition)
        self._final = final
        self.over = True
        status = LEGACY.get(condition, 200) if self._version is None else 200
        tickets = [each.ticket for each in (*self._held, *self._early.values())]
        if ticket not in tickets:
            tickets.append(ticket)
        self._held.clear()
        self._early.clear()
        answers = [Answer(each, final if status == 200 else b"", status) for each in tickets]
        return [*answers, Ended("lost" if condition == "item-not-found" else condition)]

    def pending(self) -> int:
        """Bytes the client may not have."""
        return sum(map(len, self._payloads)) + sum(len(r.data) for r in self._sent.values() if r.full)


def _version(said: str) -> tuple[int, int] | None:
    major, _, minor = said.partition(".")
    if not (said.isascii() and major.isdigit() and minor.isdigit() and len(said) < 12):
        return None
    return int(major), int(minor)


def _is_extra(element: Element) -> int:
    """One request more may be sent to pause or to end (§11)."""
    return int(bool(element.get("pause")) or element.get("type") == "terminate")


def _events(element: Element) -> tuple[Event, ...]:
    if element.get(f"{{{XBOSH_NS}}}restart") in ("true", "1"):  # XEP-0206 §5
        return (_opened(element),)
    stanzas: list[Event] = [StanzaReceived(child) for child in element.elements]
    if element.get("type") == "terminate":  # §13
        stanzas.append(StreamClosed())
    return tuple(stanzas)
