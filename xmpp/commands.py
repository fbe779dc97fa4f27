"""Commands people run at the server with their clients (XEP-0050): what one is, for who registers some."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from presence.address import Address, parse_address
from presence.errors import InvalidAddress
from xmpp.element import E, Element
from xmpp.errors import StanzaError
from xmpp.forms import FORM_TYPE, NS

if TYPE_CHECKING:
    from xmpp.extensions import Request

Values = Mapping[str, Sequence[str]]
"What was filled in, by the field's name."


@dataclass(frozen=True, slots=True)
class Field:
    """One question of a form (XEP-0004 §3.2)."""

    kind: str
    name: str
    label: str
    required: bool = False
    options: tuple[str, ...] = ()
    value: str = ""

    def element(self) -> Element:
        made = E("field", NS, {"type": self.kind, "var": self.name, "label": self.label})
        if self.required:
            made.append(E("required", NS))
        if self.value:
            made.child("value", text=self.value)
        for option in self.options:
            made.append(E("option", NS, {"label": option}, E("value", NS, {}, option)))
        return made


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a command says when it is done."""

    fields: Mapping[str, Sequence[str]] = field(default_factory=dict)
    "Shown as a form of type result."
    note: str = ""
    "For people to read."
    failed: bool = False
    form_type: str = ""
    inside: Sequence[Element] = ()
    "What else is in the form."


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One command. Without questions it is run at once."""

    node: str
    name: str
    run: Callable[[Request, Values], Awaitable[Outcome]]
    "Raises `StanzaError` or a domain error."
    allowed: Callable[[Request], bool]
    "To whom it is shown, and who may run it."
    form_type: str = ""
    questions: tuple[Field, ...] = ()
    instructions: str = ""

    def form(self) -> Element:
        """The questions."""
        form = E("x", NS, {"type": "form"}, E("title", NS, {}, self.name))
        if self.instructions:
            form.child("instructions", text=self.instructions)
        if self.form_type:
            hidden = E("field", NS, {"type": "hidden", "var": FORM_TYPE}, E("value", NS, {}, self.form_type))
            form.append(hidden)
        form.children.extend(question.element() for question in self.questions)
        return form


def is_admin(request: Request) -> bool:
    """The settings name this person."""
    return str(request.session.address) in request.router.settings.admins


def one(values: Values, name: str) -> str:
    """A field's only value; empty when it was left out. Raises `StanzaError`."""
    given = values.get(name, ())
    if len(given) > 1:
        raise StanzaError("bad-request", text=f"{name} has one value")
    return given[0] if given else ""


def address_of(text: str, request: Request) -> Address:
    """Of an account at the domain that was asked, as was filled in. Raises `StanzaError`."""
    domain = request.to.domain
    try:
        address = parse_address(text.strip() if "@" in text else f"{text.strip()}@{domain}")
    except InvalidAddress:
        raise StanzaError("jid-malformed", text=f"{text[:80]} is no address") from None
    if address.domain != domain or not address.local:
        raise StanzaError("bad-request", text=f"{address} is not at {domain}")
    return address
