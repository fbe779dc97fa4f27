"""An XMPP client for tests: slixmpp, with its stanzas in an inbox a test can wait on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self
from xml.etree.ElementTree import Element

from slixmpp import ClientXMPP
from slixmpp.exceptions import IqError
from slixmpp.xmlstream.handler import Callback
from slixmpp.xmlstream.matcher import MatchXPath, StanzaPath

from tests.support.inbox import PATIENCE, Inbox
from tests.support.trust import trusting
from tests.support.waiting import until

STANZA_ERRORS = "{urn:ietf:params:xml:ns:xmpp-stanzas}"

Stanza = Any
"A slixmpp stanza: untyped in its library."


class LoginFailed(AssertionError):
    """The server refused the credentials, or never let us in."""


class _Slixmpp(ClientXMPP):
    """slixmpp without reconnecting on its own and without answering subscription requests."""

    def __init__(self, jid: str, password: str, mechanism: str) -> None:
        super().__init__(jid, password, sasl_mech=mechanism or None, ssl_context=trusting())
        self.auto_authorize = None
        self.auto_subscribe = False
        self.whitespace_keepalive = False


class Client:
    """One logged-in resource. `async with Client(...) as alice` is online with her roster fetched."""

    def __init__(
        self,
        jid: str,
        password: str,
        server: tuple[str, int],
        resource: str = "desk",
        *,
        direct_tls: bool = False,
        mechanism: str = "",
        plugins: tuple[str, ...] = (),
        initial_presence: bool = True,
    ) -> None:
        self.jid = jid
        self.server = server
        self.full = f"{jid}/{resource}"
        self.initial_presence = initial_presence
        self.presences: Inbox[Stanza] = Inbox(f"{self.full} (presence)")
        self.messages: Inbox[Stanza] = Inbox(f"{self.full} (messages)")
        self.pushes: Inbox[Stanza] = Inbox(f"{self.full} (roster pushes)")
        self.xmpp: Any = _Slixmpp(self.full, password, mechanism)
        "slixmpp itself, whose annotations are too partial to check against."
        self.roster: Any = None
        self.xmpp.enable_direct_tls = direct_tls
        self.xmpp.enable_starttls = not direct_tls
        for plugin in plugins:
            self.xmpp.register_plugin(plugin)
        self.disconnected = asyncio.Event()
        self.xmpp.register_handler(
            Callback("every presence", MatchXPath("{jabber:client}presence"), self.presences.put)
        )
        self.xmpp.register_handler(
            Callback("every message", MatchXPath("{jabber:client}message"), self.messages.put)
        )
        self.xmpp.register_handler(Callback("every push", StanzaPath("iq@type=set/roster"), self.pushes.put))
        self.xmpp.add_event_handler("disconnected", lambda _: self.disconnected.set())

    async def __aenter__(self) -> Self:
        await self.login()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def login(self, patience: float = PATIENCE) -> None:
        """Connect, authenticate, bind, fetch the roster, send initial presence and see it."""
        outcome: asyncio.Future[str] = asyncio.get_running_loop().create_future()

        def settle(result: str) -> Callable[[Any], None]:
            return lambda _: None if outcome.done() else outcome.set_result(result)

        self.disconnected.clear()
        self.xmpp.add_event_handler("session_start", settle("in"), disposable=True)
        self.xmpp.add_event_handler("failed_all_auth", settle("refused"), disposable=True)
        self.xmpp.add_event_handler("disconnected", settle("disconnected"), disposable=True)
        self.xmpp.connect(*self.server)
        try:
            async with asyncio.timeout(patience):
                result = await outcome
        except TimeoutError:
            result = f"no session within {patience:g} s"
        if result != "in":
            await self.abort()
            raise LoginFailed(f"{self.full} on {self.server}: {result}")
        self.roster = await self.xmpp.get_roster()
        if self.initial_presence:
            seen, own = len(self.presences.history), self.xmpp.boundjid.full
            self.xmpp.send_presence()

            def there() -> bool:
                return any(each["from"].full == own for each in self.presences.history[seen:])

            await until("its own presence, by which everybody can reach it", there, patience, pause=0.01)

    async def close(self) -> None:
        """Leave as a client does: unavailable, end of stream."""
        if self.xmpp.is_connected():
            self.xmpp.send_presence(ptype="unavailable")
            await self.xmpp.disconnect()
        await self._stop()

    async def abort(self) -> None:
        """Cut the connection without a word."""
        self.xmpp.cancel_connection_attempt()
        self.xmpp.abort()
        await self._stop()

    async def _stop(self) -> None:
        self.xmpp.cancel_connection_attempt()
        sender = self.xmpp._run_out_filters
        if sender is not None:
            sender.cancel()
            await asyncio.gather(sender, return_exceptions=True)

    # --- what a user does ---

    def show(self, show: str = "", status: str = "", priority: int | None = None, **more: Any) -> None:
        self.xmpp.send_presence(pshow=show or None, pstatus=status or None, ppriority=priority, **more)

    async def shown(self, show: str = "", status: str = "", priority: int | None = None) -> None:
        """`show`, and return when it is known: who looks from now on, by whatever door, sees it."""
        self.show(show, status, priority)
        await self.presences.take(
            f"its own presence {show!r} {status!r}",
            lambda p: p["from"].full == self.full and (str(p["show"]), str(p["status"])) == (show, status),
        )

    def subscribe(self, contact: str) -> None:
        self.xmpp.send_presence(pto=contact, ptype="subscribe")

    def answer(self, contact: str, answer: str) -> None:
        """`subscribed`, `unsubscribed`, `unsubscribe`."""
        self.xmpp.send_presence(pto=contact, ptype=answer)

    def say(self, to: str, body: str, *, id: str = "", kind: str = "chat") -> str:
        """Send a message; returns its stanza id."""
        message = self.xmpp.make_message(mto=to, mbody=body, mtype=kind)
        message["id"] = id or self.xmpp.new_id()
        message.send()
        return str(message["id"])

    # --- what a user sees ---

    async def presence(self, what: str, fits: Callable[[Stanza], bool], patience: float = PATIENCE) -> Stanza:
        return await self.presences.take(what, fits, patience)

    async def online(
        self, contact: str, *, show: str | None = None, status: str | None = None, patience: float = PATIENCE
    ) -> Stanza:
        """Available presence of a contact with that show and status (None: any)."""
        return await self.presence(
            f"{contact} online, show {show!r}, status {status!r}",
            lambda p: (
                p["from"].bare == contact
                and "type" not in p.xml.attrib
                and (show is None or str(p["show"]) == show)
                and (status is None or str(p["status"]) == status)
            ),
            patience,
        )

    async def offline(self, contact: str, patience: float = PATIENCE) -> Stanza:
        return await self.presence(
            f"{contact} offline",
            lambda p: p["from"].bare == contact and p.xml.get("type") == "unavailable",
            patience,
        )

    async def asked(self, contact: str, act: str = "subscribe", patience: float = PATIENCE) -> Stanza:
        """A subscription stanza from that contact."""
        return await self.presence(
            f"{act} from {contact}",
            lambda p: p["from"].bare == contact and p.xml.get("type") == act,
            patience,
        )

    async def hears(self, body: str, sender: str = "", patience: float = PATIENCE) -> Stanza:
        """The message with exactly that body."""
        return await self.messages.take(
            f"a message saying {body[:60]!r}",
            lambda m: (
                m.xml.get("type") != "error"
                and m["body"] == body
                and (not sender or m["from"].bare == sender)
            ),
            patience,
        )

    async def bounced(self, id: str, patience: float = PATIENCE) -> str:
        """The condition of the error that came back for a message."""
        error = await self.messages.take(
            f"an error for message {id}", lambda m: m.xml.get("type") == "error" and m["id"] == id, patience
        )
        names: list[str] = [
            child.tag.removeprefix(STANZA_ERRORS) for child in error.xml.find("{jabber:client}error")
        ]
        return next(name for name in names if name != "text")

    async def answered(self, id: str, patience: float = 5.0) -> bool:
        """A ping behind the message is answered and the message was not refused: the server has taken it."""
        ping = asyncio.ensure_future(self.echo(patience))
        gone = asyncio.ensure_future(self.disconnected.wait())
        try:
            await asyncio.wait([ping, gone], return_when=asyncio.FIRST_COMPLETED)
            if not ping.done() or ping.exception() is not None:
                return False
        finally:
            ping.cancel()
            gone.cancel()
            await asyncio.gather(ping, gone, return_exceptions=True)
        return not self.messages.matching(lambda m: m.xml.get("type") == "error" and m["id"] == id)

    async def echo(self, patience: float = PATIENCE) -> None:
        """A round trip to the server: what it sent before has arrived after."""
        iq = self.xmpp.make_iq_get(ito=self.xmpp.boundjid.host)
        iq.append(Element("{urn:xmpp:ping}ping"))
        try:
            await iq.send(timeout=patience)
        except IqError:
            return
