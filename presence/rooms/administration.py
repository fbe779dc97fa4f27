"""Roles and affiliations, given and taken (XEP-0045 §8.2 to §8.5, §9, §10.3 to §10.8): pure functions."""

from __future__ import annotations

from dataclasses import dataclass

from msgspec.structs import replace

from presence.address import Address
from presence.errors import Condition, Refused
from presence.rooms.decisions import Bounds, Step, check_room_for, closing
from presence.rooms.events import Affected, Departure, Event, Left, Updated
from presence.rooms.model import Affiliated, Affiliation, Delta, Occupant, Role, Room
from presence.rooms.privileges import check_affiliation_change, check_role_change, role_after


@dataclass(frozen=True, slots=True, kw_only=True)
class GiveRole:
    """To somebody who is there. NONE: they are kicked."""

    nick: str
    role: Role
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class GiveAffiliation:
    """To anybody, by their address or by the nickname they have here."""

    address: Address | None = None
    nick: str = ""
    affiliation: Affiliation
    reason: str = ""
    reserve: str = ""
    "A nickname that is to be theirs."


Change = GiveRole | GiveAffiliation


def administer(room: Room, actor: Address, token: str, changes: tuple[Change, ...], bounds: Bounds) -> Step:
    """All of the changes or none. `token`: where the actor is in the room, if they are."""
    acting = room.by_token(token)
    mine = room.affiliation(actor), acting.role if acting is not None else Role.NONE
    work = _Work(room, mine, actor, acting.nick if acting is not None else "")
    for change in changes:
        if isinstance(change, GiveRole):
            work.give_role(change)
        else:
            work.give_affiliation(change)
    work.check_owners()
    check_room_for(room, work.affiliated.values(), bounds)
    return work.step()


class _Work:
    """What the changes so far come to."""

    def __init__(self, room: Room, mine: tuple[Affiliation, Role], actor: Address, nick: str) -> None:
        self.room = room
        self.mine = mine
        self.actor = actor
        self.nick = nick
        self.affiliated: dict[Address, Affiliated] = {}
        self.occupants: dict[str, Occupant] = {}
        self.left: dict[str, Left] = {}
        self.events: list[Event] = []
        self.reserved: dict[str, Address] | None = None
        "Whose nicknames are for good; made when somebody is given one."

    def standing(self, address: Address) -> Affiliated:
        found = self.affiliated.get(address) or self.room.affiliated.get(address)
        return found or Affiliated(address)

    def there(self, nick: str) -> Occupant | None:
        if nick in self.left:
            return None
        return self.occupants.get(nick) or self.room.occupants.get(nick)

    def give_role(self, change: GiveRole) -> None:
        target = self.there(change.nick)
        if target is None:
            raise Refused(Condition.ITEM_NOT_FOUND, "nobody here has this nickname")
        standing = self.standing(target.address).affiliation
        check_role_change(self.mine, (standing, target.role), change.role)
        if change.role is Role.NONE:
            self.remove(target, Departure.KICKED, change.reason)
        elif change.role is not target.role:
            self.update(replace(target, role=change.role), change.reason)

    def give_affiliation(self, change: GiveAffiliation) -> None:
        address = change.address
        if address is None:
            target = self.there(change.nick)
            if target is None:
                raise Refused(Condition.ITEM_NOT_FOUND, "nobody here has this nickname")
            address = target.address
        before = self.standing(address)
        after = change.affiliation
        check_affiliation_change(self.mine[0], before.affiliation, after, oneself=address == self.actor)
        kept = before.nick if after.rank >= Affiliation.MEMBER.rank else ""
        if change.reserve and after.rank >= Affiliation.MEMBER.rank:
            self.check_free(change.reserve, address)
            kept = change.reserve
        if self.stands_above(address, before.affiliation):
            if kept != before.nick:
                raise Refused(Condition.NOT_ALLOWED, "only owners do that")
            return
        now = Affiliated(address, after, kept, change.reason)
        self.affiliated[address] = now
        if after is before.affiliation:
            return
        here = [each for each in map(self.there, self.room.occupants) if each and each.address == address]
        for occupant in here:
            self.follow(occupant, before.affiliation, after, change.reason)
        if not here:
            self.events.append(Affected(address=address, affiliation=after, reason=change.reason))

    def stands_above(self, address: Address, affiliation: Affiliation) -> bool:
        """Nothing of theirs is an admin's to change."""
        mine = self.mine[0]
        return (
            mine is not Affiliation.OWNER
            and address != self.actor
            and affiliation.rank >= Affiliation.ADMIN.rank
        )

    def check_free(self, nick: str, address: Address) -> None:
        """Nobody else has the nickname, here or for good."""
        if self.reserved is None:
            people = (self.room.affiliated | self.affiliated).values()
            self.reserved = {each.nick: each.address for each in people if each.nick}
        there = self.there(nick)
        whose = self.reserved.setdefault(nick, address)
        if whose != address or (there is not None and there.address != address):
            raise Refused(Condition.CONFLICT, "this nickname is somebody else's")

    def follow(self, occupant: Occupant, before: Affiliation, after: Affiliation, reason: str) -> None:
        """What a new affiliation does to somebody who is there."""
        if after is Affiliation.OUTCAST:
            self.remove(occupant, Departure.BANNED, reason)
        elif self.room.configuration.members_only and after.rank < Affiliation.MEMBER.rank:
            self.remove(occupant, Departure.DISMISSED, reason)
        else:
            role = role_after(self.room.configuration, occupant.role, before, after)
            self.update(replace(occupant, role=role), reason)

    def update(self, occupant: Occupant, reason: str) -> None:
        before = self.there(occupant.nick)
        assert before is not None
        shown = self.room.configuration.broadcast
        vanished = before.role in shown and occupant.role not in shown
        self.occupants[occupant.nick] = occupant
        self.events.append(Updated(nick=occupant.nick, vanished=vanished, reason=reason, by=self.nick))

    def remove(self, occupant: Occupant, why: Departure, reason: str) -> None:
        self.occupants.pop(occupant.nick, None)
        seen = self.room.occupants[occupant.nick].role
        left = Left(
            occupant=replace(occupant, role=Role.NONE),
            why=why,
            affiliation=self.standing(occupant.address).affiliation,
            reason=reason,
            by=self.nick,
            hidden=seen not in self.room.configuration.broadcast,
        )
        self.left[occupant.nick] = left
        self.events.append(left)

    def check_owners(self) -> None:
        """§10.6: a room keeps an owner."""
        owners = {each.address for each in self.room.with_affiliation(Affiliation.OWNER)}
        for each in self.affiliated.values():
            if each.affiliation is Affiliation.OWNER:
                owners.add(each.address)
            else:
                owners.discard(each.address)
        if not owners:
            raise Refused(Condition.CONFLICT, "a room needs an owner")

    def step(self) -> Step:
        affiliated = tuple(
            each
            for address, each in self.affiliated.items()
            if each != self.room.affiliated.get(address, Affiliated(address))
        )
        delta = Delta(occupants=tuple(self.occupants.values()), left=tuple(self.left), affiliated=affiliated)
        return Step(delta=closing(self.room, delta), events=tuple(self.events))
