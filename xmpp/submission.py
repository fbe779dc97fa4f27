"""Data forms a client fills in (XEP-0004): the form offered, and the values submitted."""

from __future__ import annotations

from collections.abc import Iterable

from xmpp.element import E, Element
from xmpp.errors import StanzaError

NS = "jabber:x:data"
FORM_TYPE = "FORM_TYPE"


def read_submission(parent: Element, form_type: str) -> dict[str, list[str]]:
    """Values by field of the form submitted inside `parent`; none when there is no form (XEP-0068 §3.4).

    Raises `StanzaError` bad-request for a form of another type, and for a field that comes twice.
    """
    form = parent.find("x", NS)
    if form is None:
        return {}
    fields: dict[str, list[str]] = {}
    for field in form.findall("field"):
        name = field.get("var")
        if name in fields:
            raise StanzaError("bad-request", text=f"the field {name[:80]} comes twice")
        fields[name] = [value.text for value in field.findall("value")]
    if form.get("type") != "submit" or fields.pop(FORM_TYPE, []) != [form_type]:
        raise StanzaError("bad-request", text=f"a form of type {form_type} is wanted")
    return fields


def offer_form(form_type: str, fields: Iterable[Element]) -> Element:
    """An empty form for the client to fill in."""
    hidden = E("field", NS, {"type": "hidden", "var": FORM_TYPE}, E("value", NS, {}, form_type))
    return E("x", NS, {"type": "form"}, hidden, *fields)


def offer_field(kind: str, name: str, *children: Element) -> Element:
    return E("field", NS, {"type": kind, "var": name}, *children)
