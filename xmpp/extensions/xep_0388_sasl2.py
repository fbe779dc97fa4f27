"""XEP-0388 Extensible SASL Profile: the same mechanisms as RFC 6120 §6, without a new stream behind them, and
with what else the client wants done in the same round trip.

Other extensions add what can be asked for: `xmpp.extensions.Entrance`.
"""

from __future__ import annotations

import base64
import uuid
from typing import TYPE_CHECKING

from presence.errors import Unavailable
from xmpp import sasl
from xmpp.effects import Bound, Effect, Send
from xmpp.element import CLIENT_NS, E, Element
from xmpp.entrance import Entrance
from xmpp.errors import StreamError
from xmpp.extensions import Extension, Status
from xmpp.serialiser import serialise
from xmpp.welcome import Task, Welcome

if TYPE_CHECKING:
    from xmpp.negotiation import Negotiation
    from xmpp.router import XmppRouter

NS = "urn:xmpp:sasl:2"
SASL_NS = "urn:ietf:params:xml:ns:xmpp-sasl"


async def _features(router: XmppRouter, negotiation: Negotiation) -> list[Element]:
    """§2.1. Only where nobody can read along, and where there is something to offer."""
    if not negotiation.offered or not negotiation.trusted:
        return []
    threshold = negotiation.realm.threshold
    feature = E("authentication", NS, {}, *(E("mechanism", NS, {}, name) for name in negotiation.offered))
    inline = E("inline", NS)
    for makes in threshold.inline_features:
        inline.children += await makes(negotiation)
    if inline.children:
        feature.append(inline)
    for makes in threshold.login_features:
        feature.children += await makes(negotiation)
    return [feature]


class Exchange:
    """One `<authenticate/>` until it has succeeded or failed."""

    def __init__(self, negotiation: Negotiation, request: Element) -> None:
        self.negotiation = negotiation
        self.request = request
        self.welcome: Welcome | None = None
        "Set when the client has proven who it is."
        self.tasks: list[Task] = []
        self.task: Task | None = None

    # --- proof (§2.3 to §2.5) ---------------------------------------------------------------------------

    async def begin(self) -> list[Effect]:
        negotiation, request = self.negotiation, self.request
        login, terms = negotiation.login, negotiation.terms
        client_of(request)
        name = request.get("mechanism")
        first = request.find("initial-response")
        special = negotiation.realm.threshold.mechanisms.get(name)
        if special is not None and negotiation.trusted:
            login.mechanism = name
            made = special(negotiation, request)
            return await self._step(await login.begin(made, _data(first)))
        known = login.choose(name, terms)
        if name not in terms.offered:
            raise sasl.SaslFailure("invalid-mechanism", "it was not offered")
        made = known.make(login.context(terms))
        return await self._step(await login.begin(made, _data(first), server_first=known.server_first))

    async def respond(self, element: Element) -> list[Effect]:
        return await self._step(await self.negotiation.login.go_on(_data(element) or b""))

    async def _step(self, step: sasl.Step) -> list[Effect]:
        if isinstance(step, sasl.Challenge):
            return [_send(E("challenge", NS, {}, _encoded(step.data)))]
        named = self.negotiation.named
        if named is not None and named != step.address:
            raise sasl.SaslFailure("invalid-authzid", "the stream is somebody else's", step.address)
        success = E("success", NS)
        if step.data is not None:
            success.child("additional-data", text=_encoded(step.data))
        self.welcome = welcome = Welcome(
            self.negotiation, step.address, self.request, client_of(self.request), success
        )
        for requires in self.negotiation.realm.threshold.tasks:
            self.tasks += await requires(welcome)
        return await self._next()

    # --- tasks (§2.6.3) ---------------------------------------------------------------------------------

    async def _next(self) -> list[Effect]:
        """The next task, or success."""
        welcome = self.welcome
        assert welcome is not None
        if not self.tasks:
            return await self._succeed(welcome)
        go_on = E("continue", NS, {}, *welcome.success.children)
        welcome.success.children.clear()
        go_on.append(E("tasks", NS, {}, E("task", NS, {}, self.tasks[0].name)))
        return [_send(go_on)]

    async def take_up(self, element: Element) -> list[Effect]:
        """`<next/>`."""
        if self.task is not None or not self.tasks or element.get("task") != self.tasks[0].name:
            raise sasl.SaslFailure("malformed-request", "not the task that was asked for")
        self.task = self.tasks.pop(0)
        return await self.work(element)

    async def work(self, element: Element) -> list[Effect]:
        """`<task-data/>`."""
        if self.task is None:
            raise sasl.SaslFailure("malformed-request", "there is no task under way")
        answer = await self.task.receive(element)
        if answer is not None:
            return [_send(E("task-data", NS, {}, *answer))]
        self.task = None
        return await self._next()

    # --- outcome (§2.6) ---------------------------------------------------------------------------------

    async def _succeed(self, welcome: Welcome) -> list[Effect]:
        negotiation = self.negotiation
        logged_in = await negotiation.login.succeeded(welcome.address)
        negotiation.address = welcome.address
        negotiation.only = ""
        del negotiation.extra[NS]
        identity = E("authorization-identifier", NS)
        welcome.success.append(identity)
        for performs in negotiation.realm.threshold.inline:
            await performs(welcome)
        session = welcome.session
        identity.append(session.jid.full if session is not None else str(welcome.address))
        features = negotiation.later_features()
        if session is not None:
            features = [f for f in features[1:] if f.ns not in session.extra]
        inner = "".join(serialise(feature, CLIENT_NS) for feature in features)
        said = serialise(welcome.success, CLIENT_NS), f"<stream:features>{inner}</stream:features>"
        if session is not None:
            return [logged_in, Bound(session, said)]
        return [logged_in, *map(Send, said)]

    async def fail(self, failure: sasl.SaslFailure) -> list[Effect]:
        """§2.6.2. The client may try again."""
        negotiation = self.negotiation
        negotiation.only = ""
        negotiation.extra.pop(NS, None)
        answer = E("failure", NS, {}, E(failure.condition, SASL_NS))
        if failure.text:
            answer.child("text", text=failure.text)
        return await negotiation.login.failed(failure, _send(answer), negotiation.named)


async def _receive(router: XmppRouter, negotiation: Negotiation, element: Element) -> list[Effect]:
    exchange: Exchange | None = negotiation.extra.get(NS)
    if element.name == "authenticate":
        if exchange is not None:
            raise StreamError("policy-violation", "an authentication is under way")
        negotiation.extra[NS] = exchange = Exchange(negotiation, element)
        negotiation.only = NS
    if exchange is None:
        raise StreamError("unsupported-stanza-type")
    try:
        match element.name:
            case "authenticate":
                return await exchange.begin()
            case "response" if exchange.welcome is None:
                return await exchange.respond(element)
            case "next" if exchange.welcome is not None:
                return await exchange.take_up(element)
            case "task-data" if exchange.welcome is not None:
                return await exchange.work(element)
            case "abort":
                raise sasl.SaslFailure("aborted")
            case _:
                raise StreamError("policy-violation", "not what was to come next")
    except sasl.SaslFailure as failure:
        return await exchange.fail(failure)
    except Unavailable:
        return await exchange.fail(sasl.SaslFailure("temporary-auth-failure", "accounts cannot be asked"))


def client_of(request: Element) -> str:
    """The identifier of the client's installation (§2.3). Raises `SaslFailure` for what is no UUID."""
    agent = request.find("user-agent")
    said = agent.get("id") if agent is not None else ""
    try:
        return str(uuid.UUID(said)) if said else ""
    except ValueError:
        raise sasl.SaslFailure("malformed-request", "the user agent's id is no UUID") from None


def _data(element: Element | None) -> bytes | None:
    """§2.2: no element is no data, an empty one is empty data."""
    if element is None:
        return None
    text = "".join(element.text.split())
    return sasl.decode(text) if text else b""


def _encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _send(element: Element) -> Send:
    return Send(serialise(element, CLIENT_NS))


EXTENSION = Extension(
    spec="XEP-0388",
    name="Extensible SASL Profile",
    version="1.0.4",
    status=Status.COMPLETE,
    notes="With resumption, binding, tokens and upgrades inline; no data in TLS 1.3's first flight.",
    entrance=Entrance(features=_features, elements={NS: _receive}),
)
