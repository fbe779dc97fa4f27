"""What a rule provides its watchers with (RFC 5025 §3.3), as `presence.privacy` has it.

Services are shown under the owner's own address, so a service URI or its scheme selects all of them or none.
"""

from __future__ import annotations

from presence.address import Address
from presence.privacy import ALL, CAPABILITIES, EVERY, NOTHING, SHOW, TIMED, Permissions, Selectors, UserInput
from sip.pidf import named_by
from sip.xcap.document import Element
from sip.xcap.naming import address_of

RULES = "urn:ietf:params:xml:ns:pres-rules"
_ATTRIBUTES = frozenset(
    ("activities", "class", "mood", "note", "place-is", "place-type", "privacy", "relationship", "sphere")
) | {"status-icon", "time-offset"}
"Those that are there or not, without `provide-`."
_UNKNOWN = {
    ("urn:ietf:params:xml:ns:pidf:caps", "servcaps"): CAPABILITIES,
    ("urn:ietf:params:xml:ns:pidf:timed-status", "timed-status"): TIMED,
    ("jabber:client", "show"): SHOW,
}
"What `provide-unknown-attribute` can name of what is shown here."
_USER_INPUT = {each.name.lower(): each for each in UserInput}


def provided(transformations: Element, owner: Address | None) -> Permissions:
    """What is not named is not provided; extensions are not known, and provide nothing."""
    services: Selectors = frozenset()
    persons: Selectors = frozenset()
    attributes: set[str] = set()
    user_input = UserInput.FALSE
    for each in transformations.children:
        if each.name[0] != RULES:
            continue
        name, value = each.local.removeprefix("provide-"), each.text.strip()
        match name:
            case "services":
                services |= _selected(each, owner)
            case "persons":
                persons |= _selected(each, owner)
            case "user-input":
                user_input = max(user_input, _USER_INPUT.get(value, UserInput.FALSE))
            case "all-attributes":
                attributes.add(ALL)
            case "unknown-attribute" if _true(value):
                known = _UNKNOWN.get((each.get("ns").strip(), each.get("name").strip()))
                attributes |= {known} if known else set()
            case _ if name in _ATTRIBUTES and _true(value):
                attributes.add(name)
    # Together with nothing it is in its simplest form.
    return NOTHING | Permissions(services, persons, frozenset(attributes), user_input)


def _true(value: str) -> bool:
    return value in ("true", "1")


def _selected(element: Element, owner: Address | None) -> Selectors:
    found: set[tuple[str, str]] = set()
    for each in element.children:
        value = each.text.strip()
        match each.local if each.name[0] == RULES else "":
            case "all-services" | "all-persons":
                return EVERY
            case "class":
                found.add(("class", value))
            case "occurrence-id":
                found.add(("id", named_by(value)))
            case "service-uri" if owner is not None and address_of(value) == owner:
                return EVERY
            case "service-uri-scheme" if value == "sip":
                return EVERY
    return frozenset(found)
