"""XEP-0050 Ad-Hoc Commands of the server. Other extensions have them: `Extension.commands`.

Each has one form at most, so nothing is kept between the steps: a session is a name that goes back and forth.

GAP XEP-0050 §3.7: everything is said in English, and in whatever language somebody asks that is no error.
"""

from __future__ import annotations

import secrets

from xmpp.commands import Command, Values
from xmpp.element import LANG, E, Element
from xmpp.errors import StanzaError
from xmpp.extensions import Extension, Iq, Request, Status, Target
from xmpp.extensions.xep_0030_disco import INFO_NS, ITEMS_NS
from xmpp.forms import FORM_TYPE, read_form, write_form
from xmpp.forms import NS as FORM_NS

NS = "http://jabber.org/protocol/commands"
GO_ON = frozenset({"", "execute", "next", "complete"})
ACTIONS = GO_ON | {"cancel", "prev"}
MAX_SESSION = 128
MAX_VALUES = 1000


def _bad(name: str, text: str = "") -> StanzaError:
    return StanzaError("bad-request", text=text, extra=E(name, NS))


async def _execute(request: Request) -> Element:
    """§2.4."""
    asked = request.payload
    action = asked.get("action")
    command = request.router.registry.commands.get(asked.get("node"))
    if command is None:
        raise StanzaError("item-not-found")
    if not command.allowed(request):
        raise StanzaError("forbidden")
    if action not in ACTIONS:
        raise _bad("malformed-action")
    session = asked.get("sessionid")
    if len(session) > MAX_SESSION:
        raise _bad("bad-sessionid")
    if action == "cancel":
        return _answer(command, session, "canceled")
    if action == "prev":
        raise _bad("bad-action", "there is no step before")
    form = asked.find("x", FORM_NS)
    if command.questions and (not session or form is None):
        actions = E("actions", NS, {"execute": "complete"}, E("complete", NS))
        return _answer(command, session or _new_session(), "executing", actions, command.form())
    outcome = await command.run(request, _values(command, form))
    said: list[Element] = []
    if outcome.note:
        said.append(E("note", NS, {"type": "error" if outcome.failed else "info"}, outcome.note))
    if outcome.fields:
        shown = write_form("result", outcome.form_type or command.form_type, outcome.fields)
        shown.children.extend(outcome.inside)
        said.append(shown)
    return _answer(command, session or _new_session(), "completed", *said)


def _new_session() -> str:
    return secrets.token_urlsafe(9)


def _answer(command: Command, session: str, status: str, *children: Element) -> Element:
    attrs = {"node": command.node, "sessionid": session, "status": status, LANG: "en"}
    return E("command", NS, attrs, *children)


def _values(command: Command, form: Element | None) -> Values:
    """What was filled in. Raises `StanzaError` for another form, and where an answer is missing."""
    if not command.questions or form is None:
        return {}
    values = {
        name: tuple(value for value in given if value.strip()) for name, given in read_form(form).items()
    }
    if sum(map(len, values.values())) > MAX_VALUES:
        raise StanzaError("policy-violation", text=f"at most {MAX_VALUES} values at once")
    type_ = values.pop(FORM_TYPE, ())
    if command.form_type and type_ not in ((), (command.form_type,)):
        raise _bad("bad-payload", "that is another form")
    for question in command.questions:
        if question.required and not values.get(question.name):
            raise _bad("bad-payload", f"{question.name} is wanted")
    return values


async def _list(request: Request) -> Element:
    """§2.2: those that whoever asks may run."""
    items = E("query", ITEMS_NS, {"node": NS})
    for command in request.router.registry.commands.values():
        if command.allowed(request):
            domain = request.to.domain
            items.child("item", attrs={"jid": domain, "node": command.node, "name": command.name})
    return items


async def _info(request: Request) -> Element:
    """§2.2, of the list or one command."""
    node = request.payload.get("node")
    if node == NS:
        identity = {"category": "automation", "type": "command-list", "name": "Commands"}
        return E("query", INFO_NS, {"node": node}, E("identity", INFO_NS, identity))
    command = request.router.registry.commands[node]
    if not command.allowed(request):
        raise StanzaError("forbidden")
    identity = {"category": "automation", "type": "command-node", "name": command.name}
    features = (E("feature", INFO_NS, {"var": var}) for var in (NS, FORM_NS))
    return E("query", INFO_NS, {"node": node}, E("identity", INFO_NS, identity), *features)


async def _node(request: Request) -> Element | None:
    """See `Extension.server_nodes`."""
    node = request.payload.get("node")
    if node != NS and node not in request.router.registry.commands:
        return None
    if request.payload.ns == INFO_NS:
        return await _info(request)
    return await _list(request) if node == NS else E("query", ITEMS_NS, {"node": node})


EXTENSION = Extension(
    spec="XEP-0050",
    name="Ad-Hoc Commands",
    version="1.3.0",
    status=Status.COMPLETE,
    notes="Of the server; none has more than one form. In English, whatever language is asked for.",
    features=(NS,),
    server_nodes=_node,
    iq=(Iq(type="set", ns=NS, name="command", targets=frozenset({Target.SERVER}), handle=_execute),),
)
