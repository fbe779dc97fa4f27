"""XEP-0441 Message Archive Management Preferences: whose messages a user wants kept."""

from __future__ import annotations

from presence.archive import MAX_LISTED, Correspondent, Keep, Preferences
from presence.errors import InvalidAddress
from presence.history import History
from xmpp.element import E, Element
from xmpp.errors import StanzaError
from xmpp.extensions import Extension, Iq, Request, Status, Target
from xmpp.extensions.xep_0313_archive import NS
from xmpp.jid import JID, parse_jid


def read_preferences(element: Element) -> Preferences:
    """Raises `StanzaError`."""
    try:
        default = Keep(element.get("default"))
    except ValueError:
        raise StanzaError("bad-request", text="default is always, never or roster") from None
    always, never = _listed(element, "always"), _listed(element, "never")
    if len(always) + len(never) > MAX_LISTED:
        raise StanzaError("policy-violation", text=f"more than {MAX_LISTED} JIDs")
    return Preferences(default=default, always=always, never=never)


def _listed(element: Element, name: str) -> tuple[Correspondent, ...]:
    found = element.find(name)
    if found is None:
        return ()
    try:
        named = [parse_jid(each.text.strip()) for each in found.findall("jid")[: MAX_LISTED + 1]]
    except InvalidAddress:
        raise StanzaError("bad-request", text="what is listed are JIDs") from None
    return tuple(sorted({Correspondent(each.bare, each.resource) for each in named}))


def write_preferences(preferences: Preferences) -> Element:
    made = E("prefs", NS, {"default": preferences.default.value})
    for name, listed in (("always", preferences.always), ("never", preferences.never)):
        part = made.child(name)
        for each in listed:
            part.child("jid", text=JID.of(each.address, each.tuple).full)
    return made


def _history(request: Request) -> History:
    history = request.router.service.history
    if history is None:
        raise StanzaError("service-unavailable")
    return history


async def _get(request: Request) -> Element:
    return write_preferences(await _history(request).preferences(request.session.address))


async def _set(request: Request) -> Element:
    preferences = read_preferences(request.payload)
    await _history(request).set_preferences(request.session.address, preferences)
    return write_preferences(preferences)


async def _forbidden(request: Request) -> Element:
    raise StanzaError("forbidden")


_OWN, _OTHERS = frozenset({Target.ACCOUNT}), frozenset({Target.USER})

EXTENSION = Extension(
    spec="XEP-0441",
    name="Message Archive Management Preferences",
    version="0.2.0",
    status=Status.COMPLETE,
    notes="Where both lists name somebody, never wins.",
    iq=(
        Iq(type="get", ns=NS, name="prefs", targets=_OWN, handle=_get),
        Iq(type="set", ns=NS, name="prefs", targets=_OWN, handle=_set),
        Iq(type="get", ns=NS, name="prefs", targets=_OTHERS, handle=_forbidden),
        Iq(type="set", ns=NS, name="prefs", targets=_OTHERS, handle=_forbidden),
    ),
)
