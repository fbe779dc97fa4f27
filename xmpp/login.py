"""A client proves who it is: the SASL exchanges of one connection, whatever carries them (RFC 6120 §6,
XEP-0388).

Who carries them writes challenges and outcomes on the wire; what may be tried, how often, and what is said
about it to guard and log is decided here.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from math import ceil

from presence.address import Address
from presence.errors import PresenceError
from xmpp import sasl, sasl_digest_md5
from xmpp.effects import Close, Effect, LoggedIn, LoginFailed
from xmpp.errors import StreamError
from xmpp.host import Outbound
from xmpp.realm import Realm

sasl.register(sasl_digest_md5.REGISTRATION)


@dataclass(frozen=True, slots=True)
class Terms:
    """What holds on a stream when an exchange begins."""

    domain: str
    trusted: bool
    "Nobody can read along, or the settings say that it does not matter."
    offered: tuple[str, ...] = ()
    bindings: Mapping[str, bytes] = field(default_factory=dict)
    "Channel binding type → data."


class Login:
    """All the attempts of one connection. One exchange at a time: a new one ends the one before."""

    __slots__ = ("_exchange", "_failures", "_outbound", "mechanism", "proven", "realm")

    def __init__(self, realm: Realm, outbound: Outbound) -> None:
        self.realm = realm
        self._outbound = outbound
        self._exchange: sasl.Mechanism | None = None
        self._failures = 0
        self.mechanism = ""
        "Name of the last one chosen, for people; `other` for what we do not know."

        self.proven: Address | None = None
        "Who has; what is left to be done before they are logged in may take a moment."

    @property
    def under_way(self) -> bool:
        return self._exchange is not None

    @property
    def peer(self) -> str:
        """The client's IP address."""
        return self._outbound.peer

    def forget(self) -> None:
        """The exchange that was under way is none any more."""
        self._exchange = None

    async def offer(self, named: Address | None, terms: Terms) -> tuple[str, ...]:
        """Mechanisms for whom the stream's `from` names, or else those that everybody can prove: many clients
        would not try another mechanism after one failed."""
        accounts = self.realm.accounts
        proofs = accounts.mechanisms
        with suppress(PresenceError):
            proofs = await accounts.offers(named)
        wanted = self.realm.settings.mechanisms
        bound = bool(terms.bindings)
        return tuple(sasl.offer(proofs=proofs, wanted=wanted, secure=terms.trusted, bound=bound))

    # --- the exchange: each raises `SaslFailure`, and `Unavailable` when accounts cannot be asked -------

    async def begin(
        self, exchange: sasl.Mechanism, data: bytes | None, *, server_first: bool = False
    ) -> sasl.Step:
        """`data`: the initial response, None where there was none (RFC 4422 §3)."""
        self._exchange = exchange
        self.proven = None
        if data is None and not server_first:
            return sasl.Challenge(b"")  # the client begins: ask it to
        return self._noted(await exchange.receive(data or b""))

    async def go_on(self, data: bytes) -> sasl.Step:
        """The client's next message."""
        if self._exchange is None:
            raise sasl.SaslFailure("malformed-request", "a response to nothing")
        return self._noted(await self._exchange.receive(data))

    def _noted(self, step: sasl.Step) -> sasl.Step:
        if isinstance(step, sasl.Success):
            self.proven = step.address
        return step

    def context(self, terms: Terms) -> sasl.SaslContext:
        """What a mechanism is made with."""
        return sasl.SaslContext(
            accounts=self.realm.accounts,
            domain=terms.domain,
            offered=frozenset(terms.offered),
            channel_bindings=terms.bindings,
            protects_offer=True,
            fake_secret=self.realm.fake_secret,
            fake_iterations=self.realm.settings.fake_iterations,
            admit=self._admit,
        )

    def choose(self, name: str, terms: Terms) -> sasl.Registration:
        """The mechanism, if it may be used here."""
        self.mechanism = name if name in sasl.REGISTRY else "other"
        if not terms.trusted:
            raise sasl.SaslFailure("encryption-required")
        known = sasl.REGISTRY.get(name)
        if known is None or known.proof not in self.realm.accounts.mechanisms:
            raise sasl.SaslFailure("invalid-mechanism")
        if known.proof not in self.realm.settings.mechanisms:
            raise sasl.SaslFailure("mechanism-too-weak")
        if known.binding and not terms.bindings:
            raise sasl.SaslFailure("invalid-mechanism")
        return known

    async def _admit(self, address: Address) -> None:
        """Nobody guesses on for ever, from one network or at one account."""
        wait = await self.realm.guard.wait(self.peer, str(address))
        if wait > 0:
            text = f"too many failed logins, try again in {ceil(wait)} seconds"
            raise sasl.SaslFailure("temporary-auth-failure", "banned", address, text=text)

    # --- the outcome ------------------------------------------------------------------------------------

    async def succeeded(self, address: Address) -> LoggedIn:
        self._exchange = None
        await self.realm.guard.succeeded(self.peer, str(address))
        with suppress(PresenceError):  # a note for policies; nobody's login depends on it
            await self.realm.accounts.seen_on_xmpp(address)
        return LoggedIn(address, self.mechanism)

    async def failed(self, failure: sasl.SaslFailure, answer: Effect, who: Address | None) -> list[Effect]:
        """`answer` tells the client. `who`: whom the stream says it belongs to."""
        self._exchange = self.proven = None
        if failure.condition == "not-authorized" and failure.address is not None:
            await self.realm.guard.failed(self.peer, str(failure.address))
        self._failures += 1
        tried = failure.address if failure.address is not None else who
        said = LoginFailed(str(tried or ""), self.mechanism, failure.condition, str(failure))
        if self._failures < self.realm.settings.max_login_attempts:
            return [said, answer]
        return [said, answer, Close(StreamError("policy-violation", "too many failed logins"))]
