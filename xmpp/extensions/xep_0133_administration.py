"""XEP-0133 Service Administration: what `xmpp.admins` may do with their clients.

GAP XEP-0133 §4.9, §4.11, §4.12, §4.24 to §4.31: no times of last logins, blacklists and whitelists, messages
of the day and welcome messages; who is an admin is a setting, and the operator starts and stops processes.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from presence.address import Address
from presence.errors import Condition, Refused
from presence.model import Show, Snapshot
from xmpp.commands import Command, Field, Outcome, Values, address_of, is_admin, one
from xmpp.element import CLIENT_NS, E
from xmpp.errors import StanzaError, StreamError
from xmpp.extensions import Extension, Request, Status
from xmpp.jid import JID, parse_jid
from xmpp.relay import Carried, envelope
from xmpp.roster import ROSTER_NS, write_item
from xmpp.router import XmppRouter
from xmpp.serialiser import serialise

NS = "http://jabber.org/protocol/admin"
KICK = "end-session"
"Word by which a session is ended, wherever it lives."
AT_ONCE = 500
"People looked up in one round trip."
LISTED = ("25", "50", "75", "100", "150", "200", "none")
_ONE = Field("jid-single", "accountjid", "Address of the account", required=True)
_MANY = Field("jid-multi", "accountjids", "Addresses of the accounts", required=True)
_MOST = Field("list-single", "max_items", "Most to be shown", options=LISTED)


async def _each(request: Request, values: Values, work: Callable[[Address], Awaitable[None]]) -> Outcome:
    """The same for several accounts; those it did not work for are named."""
    addresses = [address_of(text, request) for text in values.get("accountjids", ())]
    missed: list[str] = []
    for address in addresses:
        try:
            await work(address)
        except Refused as refused:
            if refused.condition is not Condition.ITEM_NOT_FOUND:
                raise
            missed.append(str(address))
    return Outcome(note=f"there is no {', '.join(missed)}" if missed else "", failed=bool(missed))


async def _add(request: Request, values: Values) -> Outcome:
    """§4.1."""
    address, password = address_of(one(values, "accountjid"), request), one(values, "password")
    if not password or password != one(values, "password-verify"):
        raise StanzaError("not-acceptable", text="the passwords differ, or there is none")
    await request.router.service.add_account(address, password)
    return Outcome(note=f"{address} can log in now")


async def _delete(request: Request, values: Values) -> Outcome:
    """§4.2."""
    return await _each(request, values, request.router.service.delete_account)


async def _disable(request: Request, values: Values) -> Outcome:
    """§4.3."""
    return await _each(request, values, lambda a: request.router.service.set_enabled(a, False))


async def _enable(request: Request, values: Values) -> Outcome:
    """§4.4."""
    return await _each(request, values, lambda a: request.router.service.set_enabled(a, True))


async def _end_session(request: Request, values: Values) -> Outcome:
    """§4.5: of one resource, or all of an account."""
    for text in values.get("accountjids", ()):
        bare, slash, resource = text.partition("/")
        address = address_of(bare, request)
        to = parse_jid(f"{address}/{resource}") if slash else JID.of(address)
        word = Carried(KICK, "", request.session.jid.full, to.full)
        await request.router.service.relay(envelope(word, JID.of(address)))
    return Outcome()


def _kick(router: XmppRouter, carried: Carried, to: JID) -> None:
    for session in router.sessions_of(to.bare):
        if to.resource in ("", session.jid.resource):
            session.kick(StreamError("policy-violation", "the session was ended by an administrator"))


async def _password(request: Request, values: Values) -> Outcome:
    """§4.7."""
    address = address_of(one(values, "accountjid"), request)
    await request.router.service.change_password(address, one(values, "password"))
    return Outcome()


async def _roster(request: Request, values: Values) -> Outcome:
    """§4.8: of one account after the other."""
    addresses = [address_of(text, request) for text in values.get("accountjids", ())]
    shown = E("query", ROSTER_NS)
    for address in addresses:
        if await request.router.accounts.find(address) is None:
            raise StanzaError("item-not-found")
        _, items = await request.router.service.roster(address)
        shown.children.extend(write_item(item) for item in items if item.listed)
    return Outcome({"accountjids": [str(address) for address in addresses]}, inside=[shown])


async def _statistics(request: Request, values: Values) -> Outcome:
    """§4.10."""
    router, address = request.router, address_of(one(values, "accountjid"), request)
    if await router.accounts.find(address) is None:
        raise StanzaError("item-not-found")
    _, items = await router.service.roster(address)
    (snapshot,) = await router.service.snapshots([address])
    listed = sum(1 for item in items if item.listed)
    return Outcome({"rostersize": [str(listed)], "onlineresources": _resources(snapshot)})


async def _registered(request: Request) -> list[str]:
    everybody = await request.router.accounts.list()
    return [str(a.address) for a in everybody if a.address.domain == request.to.domain]


async def _disabled(request: Request) -> list[str]:
    everybody = await request.router.accounts.list()
    return [str(a.address) for a in everybody if a.address.domain == request.to.domain and not a.enabled]


async def _there(request: Request) -> list[Snapshot]:
    """Of whom an XMPP client is available, in whichever process."""
    everybody = [a.address for a in await request.router.accounts.list()]
    here = [address for address in everybody if address.domain == request.to.domain]
    found: list[Snapshot] = []
    for start in range(0, len(here), AT_ONCE):
        snapshots = await request.router.service.snapshots(here[start : start + AT_ONCE])
        found += [snapshot for snapshot in snapshots if _resources(snapshot)]
    return found


async def _online(request: Request) -> list[str]:
    return [str(each.address) for each in await _there(request)]


async def _active(request: Request) -> list[str]:
    return [str(each.address) for each in await _there(request) if not _idles(each)]


async def _idle(request: Request) -> list[str]:
    return [str(each.address) for each in await _there(request) if _idles(each)]


def _idles(snapshot: Snapshot) -> bool:
    """All clients say that nobody is there at them (XEP-0319), or that their user is away."""
    shown = [t for source in snapshot.sources if source.id.startswith("xmpp:") for t in source.tuples]
    return all(t.idle_since is not None or t.show in (Show.AWAY, Show.XA) for t in shown)


def _resources(snapshot: Snapshot) -> list[str]:
    ids = (source.id.partition(":") for source in snapshot.sources)
    return sorted(name for kind, _, name in ids if kind == "xmpp")


def _number(node: str, name: str, field: str, find: Callable[[Request], Awaitable[list[str]]]) -> Command:
    async def run(request: Request, values: Values) -> Outcome:
        return Outcome({field: [str(len(await find(request)))]})

    return _command(node, name, run)


def _list(node: str, name: str, field: str, find: Callable[[Request], Awaitable[list[str]]]) -> Command:
    async def run(request: Request, values: Values) -> Outcome:
        most = one(values, "max_items") or "none"
        if most not in LISTED:
            raise StanzaError("bad-request", text="max_items is one of the options")
        found = await find(request)
        return Outcome({field: found if most == "none" else found[: int(most)]})

    return _command(node, name, run, _MOST)


async def _announce(request: Request, values: Values) -> Outcome:
    """§4.23: to who is there now."""
    router, domain = request.router, request.to.domain
    body = E("body", CLIENT_NS, {}, "\n".join(values["announcement"]))
    online = await _online(request)
    for text in online:
        to = parse_jid(text)
        stanza = E("message", CLIENT_NS, {"from": domain, "to": text, "type": "headline"}, body)
        data = serialise(stanza, CLIENT_NS).encode()
        await router.service.relay(envelope(Carried("message", "headline", domain, text, "", data), to))
    return Outcome(note=f"sent to {len(online)}")


def _command(
    node: str, name: str, run: Callable[[Request, Values], Awaitable[Outcome]], *questions: Field
) -> Command:
    return Command(
        node=f"{NS}#{node}", name=name, run=run, allowed=is_admin, form_type=NS, questions=questions
    )


_SECRET = Field("text-private", "password", "Password", required=True)

EXTENSION = Extension(
    spec="XEP-0133",
    name="Service Administration",
    version="1.3.1",
    status=Status.PARTIAL,
    notes="Without last logins, black and white lists, messages of the day and welcomes. For `xmpp.admins`.",
    words={KICK: _kick},
    commands=(
        _command(
            "add-user",
            "Add a user",
            _add,
            _ONE,
            _SECRET,
            Field("text-private", "password-verify", "Password again", required=True),
        ),
        _command("delete-user", "Delete users", _delete, _MANY),
        _command("disable-user", "Disable users", _disable, _MANY),
        _command("reenable-user", "Let disabled users in again", _enable, _MANY),
        _command("end-user-session", "End sessions", _end_session, _MANY),
        _command("change-user-password", "Change a password", _password, _ONE, _SECRET),
        _command("get-user-roster", "Show users' rosters", _roster, _MANY),
        _command("user-stats", "Show a user's statistics", _statistics, _ONE),
        _number("get-registered-users-num", "Count the users", "registeredusersnum", _registered),
        _number("get-disabled-users-num", "Count the disabled users", "disabledusersnum", _disabled),
        _number("get-online-users-num", "Count the users online", "onlineusersnum", _online),
        _number("get-active-users-num", "Count the users who are active", "activeusersnum", _active),
        _number("get-idle-users-num", "Count the users who are idle", "idleusersnum", _idle),
        _list("get-registered-users-list", "List the users", "registereduserjids", _registered),
        _list("get-disabled-users-list", "List the disabled users", "disableduserjids", _disabled),
        _list("get-online-users-list", "List the users online", "onlineuserjids", _online),
        _list("get-active-users", "List the users who are active", "activeuserjids", _active),
        _list("get-idle-users", "List the users who are idle", "idleuserjids", _idle),
        _command(
            "announce",
            "Announce something to all who are online",
            _announce,
            Field("text-multi", "announcement", "What is to be announced", required=True),
        ),
    ),
)
