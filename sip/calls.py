"""Whether somebody is on the phone, by what is said of their calls (RFC 4235): lamps that never stick.

A call that ended leaves a tombstone for as long as anything said of it before could live. What comes late or
out of order cannot put anybody on the phone again.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass

from presence.address import Address
from presence.model import Person
from sip.errors import ProtocolError
from sip.xml import entity_of, parse_xml

_NS = "{urn:ietf:params:xml:ns:dialog-info}"
_MAX_DIALOGS = 64
_MAX_NAME = 256
_MOST = 20_000
"Ended calls remembered, and teller's lists of calls."
_MAX_URI = 512
_RINGS = frozenset(("trying", "proceeding", "early"))
_ANSWERED = frozenset(("replaced", "local-bye", "remote-bye", "error"))
"Events that end nothing but established calls, and the one that says that another call goes on in its place."


@dataclass(frozen=True, slots=True)
class Call:
    """One of a person's calls (RFC 4235 §3.7.1)."""

    id: str
    "Its name among the calls of one teller; the same while tags are added to it."
    name: str
    "The dialog's identifiers; the same whoever tells of it."
    talking: bool = False
    "Established; or it is theirs and rings at the other end."
    ringing: bool = False
    "It rings at their phone."
    over: bool = False
    received: bool = False
    "Somebody else made it."
    answered: bool = False
    "It is over, and only what was established ends like that; or another one has taken its place."
    call_id: str = ""
    "The same for all branches of a forked call."
    caller: str = ""
    "URI of the other end of a received call, as the teller has it; nobody vouches for it."


@dataclass(frozen=True, slots=True)
class DialogInfo:
    """A dialog information document (RFC 4235 §4.1)."""

    entity: Address | None
    "Whose calls; None when it is no address."
    version: int
    "-1 where it has none."
    full: bool
    "It has all of their calls; else only those that changed."
    calls: tuple[Call, ...]

    @property
    def person(self) -> Person | None:
        return person_of(self.calls)


def parse_dialog_info(body: bytes) -> DialogInfo:
    """Raises `ProtocolError` 400."""
    root = parse_xml(body, "dialog-info")
    dialogs = root.findall(f"{_NS}dialog")
    if root.tag != f"{_NS}dialog-info" or len(dialogs) > _MAX_DIALOGS:
        raise ProtocolError(400, "Bad dialog-info")
    calls = []
    for each in dialogs:
        element = each.find(f"{_NS}state")
        state = ((element.text if element is not None else "") or "").strip()
        # The schema has `event`, the examples of §6 have `reason`.
        event = (element.get("event") or element.get("reason") or "") if element is not None else ""
        call_id, local, remote = (each.get(n, "") for n in ("call-id", "local-tag", "remote-tag"))
        # Of a forked call each branch is a dialog of its own, with a tag of its own (§4.1.3).
        name = f"{call_id} {local} {remote}" if call_id else each.get("id", "")
        direction = each.get("direction")
        calling = direction == "initiator" and state in _RINGS
        received = direction == "recipient"
        caller = each.findtext(f"{_NS}remote/{_NS}identity") if received else None
        calls.append(
            Call(
                (each.get("id") or name)[:_MAX_NAME],
                name[:_MAX_NAME],
                talking=state == "confirmed" or calling,
                ringing=state in _RINGS and not calling,
                over=state == "terminated",
                received=received,
                answered=state == "terminated" and event in _ANSWERED,
                call_id=call_id[:_MAX_NAME],
                caller=(caller or "").strip()[:_MAX_URI],
            )
        )
    version = root.get("version", "")
    return DialogInfo(
        entity_of(root.get("entity", "")),
        int(version) if version.isascii() and version.isdigit() and len(version) < 11 else -1,
        root.get("state") != "partial",
        tuple(calls),
    )


def person_of(calls: Iterable[Call]) -> Person | None:
    """What a person's calls say of them; None: nothing."""
    calls = tuple(calls)
    if any(call.talking for call in calls):
        return Person(activities=("on-the-phone",))
    return Person(ringing=True) if any(call.ringing for call in calls) else None


class Calls:
    """`longest` is the longest lease of what is said, in seconds."""

    def __init__(self, longest: float) -> None:
        self._longest = longest
        self._ended: OrderedDict[tuple[Address, str], float] = OrderedDict()
        self._said: OrderedDict[tuple[Address, str], dict[str, Call]] = OrderedDict()
        "Whose calls, and who tells of them → id → what they last said."

    def heard(
        self, address: Address, teller: str, calls: Iterable[Call], now: float, *, full: bool = True
    ) -> Person | None:
        """What one teller's calls, as they are now, say of the person. `full`: these are all of them; else
        the others are as they were (RFC 4235 §4.3)."""
        self._forget(now)
        key = (address, teller)
        said: dict[str, Call] = {} if full else dict(self._said.get(key, {}))
        for call in calls:
            if call.over:
                said.pop(call.id, None)
                self._ended[address, call.name] = now + self._longest
                self._ended.move_to_end((address, call.name))
            elif (address, call.name) not in self._ended:
                said[call.id] = call
        self._said.pop(key, None)
        if said:
            self._said[key] = dict(list(said.items())[-_MAX_DIALOGS:])
        return person_of(call for call in said.values() if (address, call.name) not in self._ended)

    def silent(self, address: Address, teller: str) -> None:
        """The teller says nothing any more."""
        self._said.pop((address, teller), None)

    def _forget(self, now: float) -> None:
        while self._ended and (len(self._ended) > _MOST or next(iter(self._ended.values())) <= now):
            self._ended.popitem(last=False)
        while len(self._said) > _MOST:
            self._said.popitem(last=False)
