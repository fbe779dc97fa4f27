"""From the first byte to a bound resource: RFC 6120 §4.3 with STARTTLS (§5), SASL (§6) and resource
binding (§7).

`Negotiation` takes a stream's events one at a time and answers with effects in the order they go to the
wire. It has no socket; it awaits only the accounts and the `Host`. Who logs in by another profile than
RFC 6120's, or wants something before logging in, is served by extensions (`xmpp.realm.Threshold`).
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any, assert_never

from presence.address import Address
from presence.errors import InvalidAddress, PresenceError, Unavailable
from xmpp import sasl
from xmpp.effects import Bound, Close, Effect, NewStream, Opened, Send, StartTls
from xmpp.element import CLIENT_NS, STREAM_NS, E, Element
from xmpp.errors import StanzaError, StreamError, error_stanza, to_stanza_error
from xmpp.host import BoundSession, Outbound, Resumed
from xmpp.jid import JID, parse_jid, parse_resource
from xmpp.login import Login, Terms
from xmpp.realm import Realm
from xmpp.serialiser import serialise
from xmpp.stream import Event, StanzaReceived, StreamClosed, StreamFailed, StreamOpened

TLS_NS = "urn:ietf:params:xml:ns:xmpp-tls"
SASL_NS = "urn:ietf:params:xml:ns:xmpp-sasl"
BIND_NS = "urn:ietf:params:xml:ns:xmpp-bind"
STANZAS = frozenset({"message", "presence", "iq"})
MAX_TRIES = 10
"Requests of one connection before a resource is bound, beside logins."
MAX_WRITTEN = 100
"Lists of features that are kept as they are written."


class Negotiation:
    """One connection's way to a bound resource."""

    __slots__ = (
        "_features_sent",
        "_tries",
        "address",
        "bindings",
        "domain",
        "extra",
        "header_sent",
        "lang",
        "login",
        "may_be_clear",
        "offered",
        "only",
        "outbound",
        "realm",
        "secure",
        "upgradable",
        "who",
    )

    def __init__(
        self, realm: Realm, outbound: Outbound, *, may_be_clear: bool = False, upgradable: bool = True
    ) -> None:
        self.realm = realm
        self.outbound = outbound
        self.may_be_clear = may_be_clear
        "This peer may log in without TLS."
        self.upgradable = upgradable
        "STARTTLS is possible; elsewhere TLS is there from the start or never (RFC 7395 §3.9, XEP-0206 §4)."
        self.secure = False
        self.bindings: Mapping[str, bytes] = {}
        self.domain = realm.domains[0]
        self.lang = ""
        self.who: JID | None = None
        "What the client's stream header says about itself."
        self.address: Address | None = None
        "Authenticated."
        self.login = Login(realm, outbound)
        self.offered: tuple[str, ...] = ()
        "Mechanisms on this stream's list."
        self.only = ""
        "Namespace of the only elements that may come now; empty for any."
        self.extra: dict[str, Any] = {}
        "What extensions keep until a resource is bound, by their namespace."
        self.header_sent = False
        self._features_sent = False
        self._tries = 0

    def secured(self, bindings: Mapping[str, bytes]) -> None:
        """TLS is up (RFC 6120 §5.4.3.3): everything learned before is forgotten."""
        self.secure = True
        self.bindings = bindings
        self._new_stream()

    def _new_stream(self) -> None:
        self.header_sent = False
        self._features_sent = False
        self.login.forget()
        self.extra.clear()
        self.only = ""
        self.who = None

    async def receive(self, event: Event, *, more: bool = False) -> list[Effect]:
        """The next event. `more` says that bytes behind it have arrived already."""
        try:
            match event:
                case StreamOpened():
                    return await self._opened(event)
                case StanzaReceived(element):
                    return await self._element(element, more)
                case StreamClosed():
                    return [Close()]
                case StreamFailed(error):
                    return [Close(error)]
                case _:
                    assert_never(event)
        except StreamError as error:
            return [Close(error)]

    # --- the header (§4.7) and features (§4.3.2) -------------------------------------------------------

    def header(self) -> Opened:
        """Our stream header; to be sent before a stream error if it was not yet (§4.9.1.2)."""
        self.header_sent = True
        to = str(self.who.bare) if self.who is not None else ""
        return Opened(self.realm.stream_id(), self.domain, to)

    async def _opened(self, event: StreamOpened) -> list[Effect]:
        self.lang = event.lang[:64]
        if event.from_:
            try:
                self.who = parse_jid(event.from_)
            except InvalidAddress:
                raise StreamError("invalid-from", "'from' is not a JID") from None
        self._check_version(event.version)
        self._choose_domain(event.to)
        who, address = self.who, self.address
        if address is not None and who is not None and who.local and who.bare != address:
            raise StreamError("invalid-from", "the stream is authenticated as somebody else")
        features = await self._written_features()
        header = self.header()
        self._features_sent = True
        return [header, Send(features)]

    @staticmethod
    def _check_version(version: str) -> None:
        """§4.7.5: anything from 1.0 on understands us; before it there were no features."""
        major, dot, minor = version.partition(".")
        if not (dot and major.isascii() and minor.isascii() and major.isdigit() and minor.isdigit()):
            raise StreamError("unsupported-version", "version 1.0 is wanted")
        if len(version) > 16 or int(major) != 1:
            raise StreamError("unsupported-version", "version 1.0 is wanted")

    def _choose_domain(self, to: str) -> None:
        domains = self.realm.domains
        if not to:
            if len(domains) > 1:
                raise StreamError("improper-addressing", "'to' is missing and there are several domains here")
            return
        try:
            domain = parse_jid(to)
        except InvalidAddress:
            raise StreamError("improper-addressing", "'to' is not a domain") from None
        if domain.local or domain.resource:
            raise StreamError("improper-addressing", "'to' is not a domain")
        if domain.domain not in domains:
            raise StreamError("host-unknown", "this domain is not served here")
        if self.address is not None and domain.domain != self.address.domain:
            raise StreamError("host-unknown", "the stream is authenticated for another domain")
        self.domain = domain.domain

    async def _written_features(self) -> str:
        """Written once for all to whom the same is offered."""
        logged_in = self.address is not None
        if not self.trusted and not self.upgradable:
            raise StreamError("policy-violation", "TLS is required: use wss:// or https://")
        self.offered = ()
        if not logged_in and self.trusted:
            self.offered = await self.login.offer(self.named, self.terms)
        kind = (logged_in, self.secure, self.may_be_clear, self.upgradable, self.offered, *self.bindings)
        known = self.realm.features
        if kind not in known:
            features = self.later_features() if logged_in else await self._features()
            inner = "".join(serialise(feature, CLIENT_NS) for feature in features)
            if len(known) >= MAX_WRITTEN:
                known.clear()
            known[kind] = f"<stream:features>{inner}</stream:features>"
        return known[kind]

    async def _features(self) -> list[Element]:
        features: list[Element] = []
        if not self.secure and self.upgradable:
            starttls = E("starttls", TLS_NS)
            features.append(starttls)
            if not self.may_be_clear:
                starttls.append(E("required", TLS_NS))
                return features
        names = (E("mechanism", SASL_NS, {}, name) for name in self.offered)
        features.append(E("mechanisms", SASL_NS, {}, *names))
        for more in self.realm.threshold.features:
            features += await more(self)
        return features

    def later_features(self) -> list[Element]:
        """Those of a client that is logged in."""
        return [E("bind", BIND_NS), *self.realm.host.features()]

    @property
    def named(self) -> Address | None:
        """Whose account the stream's `from` says this is about; not to be trusted."""
        who = self.who
        return who.bare if who is not None and who.local and who.domain == self.domain else None

    @property
    def trusted(self) -> bool:
        """Credentials may be sent over this stream."""
        return self.secure or self.may_be_clear

    @property
    def terms(self) -> Terms:
        return Terms(self.domain, self.trusted, self.offered, self.bindings)

    # --- top-level elements ----------------------------------------------------------------------------

    async def _element(self, element: Element, more: bool) -> list[Effect]:
        if self.only and element.ns != self.only:
            raise StreamError("policy-violation", "first finish what you have begun")
        threshold = self.realm.threshold
        match element.ns, element.name:
            case _, "error" if element.ns == STREAM_NS:
                return [Close()]
            case _, "starttls" if element.ns == TLS_NS:
                return self._starttls(more)
            case _, "auth" | "response" | "abort" if element.ns == SASL_NS and self.address is None:
                return await self._sasl(element)
            case _, name if element.ns == CLIENT_NS and name in STANZAS:
                return await self._stanza(element)
            case ns, _ if self.address is None and self._features_sent and ns in threshold.elements:
                return await threshold.elements[ns](self, element)
            case ns, _ if self.address is not None and ns in threshold.negotiable:
                return await self._negotiable(self.address, element)
            case _:
                raise StreamError("unsupported-stanza-type")

    async def _negotiable(self, address: Address, element: Element) -> list[Effect]:
        self._count_try()
        answer = await self.realm.threshold.negotiable[element.ns](address, element, self.outbound, self.lang)
        if isinstance(answer, Resumed):
            return [Bound(answer.session, (serialise(answer.answer, CLIENT_NS),))]
        return [Send(serialise(answer, CLIENT_NS))]

    def _count_try(self) -> None:
        self._tries += 1
        if self._tries > MAX_TRIES:
            raise StreamError("policy-violation", "too many requests before a resource is bound")

    def _starttls(self, more: bool) -> list[Effect]:
        """§5.4.2. What was sent in the clear behind the command must not be read as if it came through
        TLS."""
        if self.secure or more or self.address is not None or not self.upgradable:
            return [Send(f"<failure xmlns='{TLS_NS}'/>"), Close()]
        return [StartTls(f"<proceed xmlns='{TLS_NS}'/>")]

    async def _stanza(self, stanza: Element) -> list[Effect]:
        if self.address is None:
            return await self._before_login(stanza)
        bind = stanza.find("bind", BIND_NS) if stanza.name == "iq" and stanza.get("type") == "set" else None
        if bind is None:
            raise StreamError("not-authorized", "bind a resource first")
        self._count_try()
        try:
            session = await self._bind(self.address, bind)
        except StanzaError as refused:
            return [Send(serialise(error_stanza(stanza, refused), CLIENT_NS))]
        except PresenceError as refused:
            return [Send(serialise(error_stanza(stanza, to_stanza_error(refused)), CLIENT_NS))]
        answer = _result(stanza, E("bind", BIND_NS, {}, E("jid", BIND_NS, {}, session.jid.full)))
        return [Bound(session, (serialise(answer, CLIENT_NS),))]

    async def _before_login(self, stanza: Element) -> list[Effect]:
        """The few requests that extensions answer to strangers."""
        children = stanza.elements
        payload = children[0] if stanza.name == "iq" and len(children) == 1 else None
        asked = None
        if payload is not None and self._features_sent and self.trusted:
            asked = self.realm.threshold.iq.get((stanza.get("type"), payload.ns, payload.name))
        if asked is None or payload is None:
            raise StreamError("not-authorized", "log in first")
        self._count_try()
        try:
            answer = _result(stanza, await asked(self, payload))
        except StanzaError as refused:
            answer = error_stanza(stanza, refused)
        except PresenceError as refused:
            answer = error_stanza(stanza, to_stanza_error(refused))
        return [Send(serialise(answer, CLIENT_NS))]

    async def _bind(self, address: Address, bind: Element) -> BoundSession:
        wanted = bind.find("resource")
        resource: str | None = None
        if wanted is not None and wanted.text:
            try:
                resource = parse_resource(wanted.text)
            except InvalidAddress as invalid:
                raise StanzaError("bad-request", text=str(invalid)) from None
        return await self.realm.host.bind(address, resource, self.outbound, self.lang)

    # --- SASL (§6) --------------------------------------------------------------------------------------

    async def _sasl(self, element: Element) -> list[Effect]:
        if not self._features_sent:
            raise StreamError("not-authorized")
        try:
            step = await self._exchange(element)
        except sasl.SaslFailure as failure:
            return await self._failed(failure)
        except Unavailable:
            return await self._failed(sasl.SaslFailure("temporary-auth-failure", "accounts cannot be asked"))
        if isinstance(step, sasl.Challenge):
            return [Send(_with_data("challenge", step.data))]
        self.address = step.address
        self._new_stream()
        return [
            await self.login.succeeded(step.address),
            Send(_with_data("success", step.data)),
            NewStream(),
        ]

    async def _exchange(self, element: Element) -> sasl.Step:
        if element.name == "abort":
            raise sasl.SaslFailure("aborted")
        if element.name == "auth":
            terms = self.terms
            known = self.login.choose(element.get("mechanism"), terms)
            made = known.make(self.login.context(terms))
            return await self.login.begin(made, sasl.decode(element.text), server_first=known.server_first)
        return await self.login.go_on(sasl.decode(element.text) or b"")

    async def _failed(self, failure: sasl.SaslFailure) -> list[Effect]:
        who = self.who.bare if self.who is not None else None
        return await self.login.failed(failure, Send(_failure(failure)), who)


def _result(request: Element, payload: Element | None) -> Element:
    answer = E("iq", CLIENT_NS, {"type": "result"})
    if "id" in request.attrs:
        answer.attrs["id"] = request.attrs["id"]
    return answer if payload is None else answer.append(payload)


def _failure(failure: sasl.SaslFailure) -> str:
    text = f"<text xml:lang='en'>{failure.text}</text>" if failure.text else ""
    return f"<failure xmlns='{SASL_NS}'><{failure.condition}/>{text}</failure>"


def _with_data(name: str, data: bytes | None) -> str:
    """`<challenge/>` or `<success/>`; a success with empty additional data says `=` (§6.4.6)."""
    if data is None:
        return f"<{name} xmlns='{SASL_NS}'/>"
    encoded = base64.b64encode(data).decode()
    if not encoded and name == "success":
        encoded = "="
    return f"<{name} xmlns='{SASL_NS}'>{encoded}</{name}>"


def check_from(stanza: Element, jid: JID) -> Element:
    """Stamp a bound client's stanza with its full JID (RFC 6120 §8.1.2.1).

    Raises `StreamError`: `invalid-from` for somebody else's address, `unsupported-stanza-type` for what is
    no stanza.
    """
    if stanza.ns != CLIENT_NS:
        return stanza
    if stanza.name not in STANZAS:
        raise StreamError("unsupported-stanza-type")
    said = stanza.attrs.get("from")
    if said is not None and said != jid.full:
        try:
            other = parse_jid(said)
        except InvalidAddress:
            raise StreamError("invalid-from") from None
        if other.bare != jid.bare or other.resource not in ("", jid.resource):
            raise StreamError("invalid-from")
    stanza.attrs["from"] = jid.full
    return stanza
