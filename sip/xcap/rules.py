"""Presence authorisation rules and what they come to for one watcher (RFC 4745, RFC 5025, OMA's conditions).

# GAP RFC 5025 §3.3: an allowing rule without any transformations shows everything: who writes none means it
# GAP RFC 5025 §3.3.1.1: devices are not shown to anybody, so their permissions change nothing
# GAP RFC 4745 §7.2, §7.3: rules that hold at times or in a sphere only are refused
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from presence.address import Address
from presence.orders import Handling, Order
from presence.privacy import EVERYTHING, NOTHING, Grant, Permissions
from sip.addressing import to_uri
from sip.xcap.conflicts import Conflicting
from sip.xcap.document import Document, Element, Splice
from sip.xcap.naming import address_of
from sip.xcap.transformations import RULES, provided
from sip.xml import escape

COMMON = "urn:ietf:params:xml:ns:common-policy"
ALLOWED = "tandem_allow"
BLOCKED = "tandem_block"
"Ids of the rules the server writes itself."
MAX_WIDE = 100
"Conditions for many, and lists, in one ruleset."
_OMA = "urn:oma:"
_HANDLINGS = {"block": Handling.BLOCK, "confirm": Handling.CONFIRM}
_HANDLINGS |= {"polite-block": Handling.POLITE_BLOCK, "allow": Handling.ALLOW}
_REFUSALS = (Handling.BLOCK, Handling.POLITE_BLOCK)

Listed = Callable[[str], Iterable[Address]]
"Who stands in the list an URI points to."


@dataclass(frozen=True, slots=True)
class Many:
    element: Element
    domain: str
    but: frozenset[str]

    def concerns(self, watcher: Address) -> bool:
        if self.domain and self.domain != watcher.domain:
            return False
        return str(watcher) not in self.but and watcher.domain not in self.but


@dataclass(slots=True)
class Rule:
    element: Element
    id: str
    handling: Handling
    ones: dict[Address, list[Element]] = field(default_factory=dict)
    manys: list[Many] = field(default_factory=list)
    lists: list[frozenset[Address]] = field(default_factory=list)
    identity: bool = False
    "It says who; a rule that does not is for everybody."
    others: bool = False
    "For whom no other rule names (OMA's other-identity)."
    void: bool = False
    "It has a condition that is never true here."

    permissions: Permissions = NOTHING

    @property
    def wide(self) -> bool:
        """It may concern others than those it has as ones."""
        return bool(self.manys or self.lists or not self.identity)

    def names(self, watcher: Address) -> bool:
        """In particular, not as one of many."""
        return not self.void and (watcher in self.ones or any(watcher in each for each in self.lists))

    def identifies(self, watcher: Address) -> bool:
        return not self.identity or watcher in self.ones or any(m.concerns(watcher) for m in self.manys)

    def concerns(self, watcher: Address) -> bool:
        if self.void or self.others:
            return False
        return self.identifies(watcher) and all(watcher in each for each in self.lists)

    @property
    def grant(self) -> Grant:
        """What it shows, for those who show presence."""
        names: set[Address] = set(self.ones)
        many = [Order(self.handling, each.domain, tuple(sorted(each.but))) for each in self.manys]
        if self.lists:
            listed = frozenset.intersection(*self.lists)
            names, many = {each for each in listed if self.identifies(each)}, []
        elif not self.identity:
            many = [Order(self.handling)]
        if self.others:
            names, many = set(), []
        return Grant(
            self.handling, self.permissions, tuple(sorted(map(str, names))), tuple(many), self.others
        )


@dataclass(frozen=True, slots=True)
class Verdict:
    handling: Handling
    named: bool
    "A rule that comes to it names the watcher."


class Rules:
    """A ruleset, read."""

    def __init__(self, document: Document, listed: Listed, owner: Address | None = None) -> None:
        """`owner`: whose presence it is about, where what of it is shown matters."""
        self.document = document
        self.rules = [_rule(each, listed, owner) for each in document.root.all(COMMON, "rule")]
        self._others = [rule for rule in self.rules if rule.others and not rule.void]
        self._wide = [rule for rule in self.rules if rule.wide]
        self._by_name: dict[Address, list[Rule]] = {}
        for rule in self.rules:
            for one in rule.ones:
                self._by_name.setdefault(one, []).append(rule)

    def naming(self, watcher: Address) -> list[Rule]:
        """Those with the watcher as one of their own."""
        return self._by_name.get(watcher, [])

    def on(self, watcher: Address) -> Verdict:
        """The highest of all rules that match; block where none does (RFC 5025 §3.2.1)."""
        likely = (*self._wide, *(rule for rule in self.naming(watcher) if not rule.wide))
        matching = [rule for rule in likely if rule.concerns(watcher)] or self._others
        if not matching:
            return Verdict(Handling.BLOCK, named=False)
        highest = max(rule.handling for rule in matching)
        return Verdict(highest, any(r.names(watcher) for r in matching if r.handling == highest))

    def named(self) -> set[Address]:
        return {
            address
            for rule in self.rules
            if not rule.void
            for address in (*rule.ones, *(each for listed in rule.lists for each in listed))
        }

    def has(self, name: str) -> bool:
        return any(rule.id == name for rule in self.rules)

    def grants(self) -> tuple[Grant, ...]:
        """What of it is to be known where presence is shown: nothing, if all of it is shown to everybody who
        sees any, and nobody's being blocked is to be told or not."""
        grants = tuple(rule.grant for rule in self.rules if not rule.void and rule.id != BLOCKED)
        whole = all(g.permissions.whole for g in grants if g.handling is Handling.ALLOW)
        blocked = any(g.names for g in grants if g.handling in _REFUSALS)
        return () if whole and not blocked else grants

    def orders(self) -> tuple[Order, ...]:
        """Those that name nobody, for whoever comes."""
        refused = {str(each) for rule in self.rules if rule.handling in _REFUSALS for each in rule.ones}
        orders: list[Order] = []
        for rule in self.rules:
            if rule.void or rule.lists:
                continue
            if rule.others or not rule.identity:
                orders.append(Order(rule.handling))
            # Who is blocked is on the blocklist, and is asked about like others once they are off it.
            orders += [
                Order(rule.handling, many.domain, tuple(sorted(many.but - refused))) for many in rule.manys
            ]
        return tuple(orders)


def anchors(document: Document) -> list[str]:
    """What its external lists point to."""
    return [
        child.get("anc") or child.get("anchor")
        for each in document.root.walk()
        if each.local == "external-list" and each.name[0].startswith(_OMA)
        for child in each.children
    ]


def _rule(element: Element, listed: Listed, owner: Address | None) -> Rule:
    rule = Rule(element, element.get("id"), Handling.BLOCK)
    actions = element.first(COMMON, "actions")
    if actions is not None:
        said = [each.text.strip() for each in actions.all(RULES, "sub-handling")]
        rule.handling = max((_HANDLINGS.get(each, Handling.BLOCK) for each in said), default=Handling.BLOCK)
    transformations = element.first(COMMON, "transformations")
    if transformations is not None:
        rule.permissions = provided(transformations, owner)
    elif rule.handling is Handling.ALLOW:
        rule.permissions = EVERYTHING
    conditions = element.first(COMMON, "conditions")
    for each in conditions.children if conditions is not None else ():
        if each.name == (COMMON, "identity"):
            rule.identity = True
            _identity(rule, each)
        elif each.name[0].startswith(_OMA) and each.local == "external-list":
            anchors = [child.get("anc") or child.get("anchor") for child in each.children]
            rule.lists.append(frozenset(a for anchor in anchors for a in listed(anchor)))
        elif each.name[0].startswith(_OMA) and each.local == "other-identity":
            rule.others = True
        else:
            # anonymous-request: nobody is; a condition we do not know is not true (RFC 4745 §6)
            rule.void = True
    return rule


def _identity(rule: Rule, element: Element) -> None:
    for each in element.children:
        if each.name == (COMMON, "one"):
            address = address_of(each.get("id"))
            if address is not None:
                rule.ones.setdefault(address, []).append(each)
        elif each.name == (COMMON, "many"):
            but: set[str] = set()
            for exception in each.all(COMMON, "except"):
                address = address_of(exception.get("id"))
                but |= {str(address)} if address else set()
                but |= {exception.get("domain").lower()} - {""}
            rule.manys.append(Many(each, each.get("domain").lower(), frozenset(but)))


def check(document: Document) -> None:
    """Refuse what would show more than the rules say, or what takes too long to apply to everybody they
    name. Raises `Conflicting` constraint-failure."""
    if sum(map(_width, document.root.all(COMMON, "rule"))) > MAX_WIDE:
        raise Conflicting("constraint-failure", "too many rules for more than single people")
    for rule in document.root.all(COMMON, "rule"):
        conditions = rule.first(COMMON, "conditions")
        for each in conditions.children if conditions is not None else ():
            if each.name in ((COMMON, "sphere"), (COMMON, "validity")):
                raise Conflicting("constraint-failure", f"rules for a {each.local} are not supported here")


def _width(rule: Element) -> int:
    """How much there is in it to be compared with everybody."""
    below = [each.local for each in rule.walk()]
    return max(below.count("many") + below.count("external-list"), int("one" not in below))


# --- the view -----------------------------------------------------------------------------------------

_HEAD = f'<?xml version="1.0" encoding="UTF-8"?>\n<ruleset xmlns="{COMMON}" xmlns:pr="{RULES}">'
_WHOLE = (
    "<transformations><pr:provide-devices><pr:all-devices/></pr:provide-devices><pr:provide-persons>"
    "<pr:all-persons/></pr:provide-persons><pr:provide-services><pr:all-services/></pr:provide-services>"
    "<pr:provide-all-attributes/></transformations>"
)


def unwritten(domains: Iterable[str], own_people: Handling) -> Document:
    """The rules of somebody who never wrote any: `own_people` are answered so, others ask."""
    parts = [_HEAD]
    if own_people is not Handling.CONFIRM:
        many = "".join(f'<many domain="{escape(domain)}"/>' for domain in domains)
        parts.append(_rule_text("tandem_own_people", many, own_people))
    if own_people is not Handling.BLOCK:
        parts.append(_rule_text("tandem_others", "<many/>", Handling.CONFIRM))
    parts.append("\n</ruleset>\n")
    return Document("".join(parts).encode())


def _rule_text(name: str, identities: str, handling: Handling, declared: str = "") -> str:
    word = next(text for text, each in _HANDLINGS.items() if each is handling)
    whole = _WHOLE if handling is Handling.ALLOW else ""
    return (
        f'\n  <rule{declared} id="{name}"><conditions><identity>{identities}</identity></conditions><actions>'
        f"<pr:sub-handling>{word}</pr:sub-handling></actions>{whole}</rule>"
    )


def shown(rules: Rules, owner: Address, allowed: set[Address], blocked: set[Address]) -> Document:
    """What was written, made true: who may see the owner is allowed, who is blocked is blocked, and nobody
    else is named as either."""
    to_allow: list[Address] = []
    to_block: list[Address] = []
    gone: set[Element] = set()
    excepted: dict[int, tuple[Rule, Many | None, list[Address]]] = {}
    document = rules.document
    for person in sorted((rules.named() | allowed | blocked) - {owner}):
        verdict = rules.on(person)
        if person in blocked:
            if verdict.handling in _REFUSALS and verdict.named:
                continue
            for rule in rules.rules:
                if not rule.concerns(person) or rule.handling in _REFUSALS:
                    continue
                gone.update(rule.ones.get(person, []))
                wide: list[Many | None] = [many for many in rule.manys if many.concerns(person)]
                for many in wide or ([None] if not rule.identity else []):
                    key = id(many.element if many else rule.element)
                    excepted.setdefault(key, (rule, many, []))[2].append(person)
            if not any(rule.names(person) and rule.handling in _REFUSALS for rule in rules.rules):
                to_block.append(person)
        elif person in allowed:
            if verdict.handling is not Handling.ALLOW:
                gone.update(_named_in(rules, person, _REFUSALS))
                to_allow.append(person)
        else:
            refusing = _named_in(rules, person, _REFUSALS)
            gone.update(refusing, _named_in(rules, person, (Handling.ALLOW,)))
            if refusing:
                gone.update(_exceptions(rules, person))
    splices = [_except(document, *each) for each in excepted.values()]
    splices += _without(document, rules, gone)
    for name, handling, people in (
        (ALLOWED, Handling.ALLOW, to_allow),
        (BLOCKED, Handling.BLOCK, to_block),
    ):
        if people:
            splices.append(_naming(document, rules, name, handling, people, gone))
    return document.spliced(splices) if splices else document


def _named_in(rules: Rules, person: Address, handlings: tuple[Handling, ...]) -> list[Element]:
    return [e for rule in rules.naming(person) if rule.handling in handlings for e in rule.ones[person]]


def _exceptions(rules: Rules, person: Address) -> list[Element]:
    return [
        each
        for rule in rules.rules
        for many in rule.manys
        for each in many.element.all(COMMON, "except")
        if address_of(each.get("id")) == person
    ]


def _except(document: Document, rule: Rule, many: Many | None, people: list[Address]) -> Splice:
    """A rule for everybody becomes one for everybody but them."""
    mark = (many.element if many else rule.element).qualifier
    text = "".join(f'<{mark}except id="{escape(to_uri(person))}"/>' for person in people)
    if many is not None:
        return document.inserted(many.element, many.element.close, text.encode())
    text = f"<{mark}identity><{mark}many>{text}</{mark}many></{mark}identity>"
    conditions = rule.element.first(COMMON, "conditions")
    if conditions is not None:
        return document.inserted(conditions, conditions.inside, text.encode())
    return document.inserted(
        rule.element, rule.element.inside, f"<{mark}conditions>{text}</{mark}conditions>".encode()
    )


def _without(document: Document, rules: Rules, gone: set[Element]) -> list[Splice]:
    """An identity with nobody in it would be everybody: then the rule goes."""
    splices = [document.removal(e) for e in gone if e.local == "except"]
    for rule in rules.rules:
        mine = [e for elements in rule.ones.values() for e in elements]
        leaving = [e for e in mine if e in gone]
        if not leaving:
            continue
        identities = {id(e.parent): e.parent for e in leaving if e.parent is not None}
        if any(all(child in gone for child in each.children) for each in identities.values()):
            splices.append(document.removal(rule.element))
        else:
            splices += [document.removal(e) for e in leaving]
    return splices


def _naming(
    document: Document,
    rules: Rules,
    name: str,
    handling: Handling,
    people: list[Address],
    gone: set[Element],
) -> Splice:
    """Add people to our rule, or make it."""
    mine = next((rule for rule in rules.rules if rule.id == name), None)
    ones = [f'one id="{escape(to_uri(person))}"/>' for person in people]
    identity = _identity_of(mine) if mine is not None else None
    stays = identity is not None and not all(child in gone for child in identity.children)
    if identity is not None and stays:
        text = "".join(f"<{identity.qualifier}{one}" for one in ones)
        return document.inserted(identity, identity.close, text.encode())
    declared = f' xmlns="{COMMON}" xmlns:pr="{RULES}"'
    if document.root.scope().get("") == COMMON and document.root.scope().get("pr") == RULES:
        declared = ""
    taken = {rule.id for rule in rules.rules} if not (mine is not None and identity is not None) else set()
    fresh = name if name not in taken else f"{name}_2"
    text = _rule_text(fresh, "".join(f"<{one}" for one in ones), handling, declared)
    return document.inserted(document.root, document.root.close, text.encode())


def _identity_of(rule: Rule) -> Element | None:
    conditions = rule.element.first(COMMON, "conditions")
    return conditions.first(COMMON, "identity") if conditions is not None else None


# --- the wishes -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Changed:
    """One person for whom it comes to something else."""

    person: Address
    before: Verdict
    after: Verdict


def changes(
    before: Rules, after: Rules, owner: Address, others: Iterable[Address], *, whole: bool
) -> list[Changed]:
    """`whole`: the client wrote all of it. One that left out the rules we wrote does not know them, and takes
    nothing back by that."""
    unknown = {
        person
        for rule in before.rules
        if whole and rule.id in (ALLOWED, BLOCKED) and not after.has(rule.id)
        for person in rule.ones
    }
    found = []
    for person in sorted((before.named() | after.named() | set(others)) - {owner}):
        was, is_ = before.on(person), after.on(person)
        if was != is_ and not (person in unknown and not is_.named):
            found.append(Changed(person, was, is_))
    return found
