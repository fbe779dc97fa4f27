"""Who may do what in a room: the tables of XEP-0045 §5 as functions. Each raises `Refused`."""

from __future__ import annotations

import hmac

from presence.errors import Condition, Refused
from presence.rooms.model import Affiliation, Configuration, Role, Whispering


class MembersOnly(Refused):
    """The room is for members only; a member's affiliation would help."""

    def __init__(self) -> None:
        super().__init__(Condition.FORBIDDEN, "the room is for members only")


def initial_role(configuration: Configuration, affiliation: Affiliation) -> Role:
    """§5.1.2 table 4."""
    if affiliation.rank >= Affiliation.ADMIN.rank:
        return Role.MODERATOR
    if affiliation is Affiliation.MEMBER or not configuration.moderated:
        return Role.PARTICIPANT
    return Role.VISITOR


def role_after(configuration: Configuration, role: Role, before: Affiliation, after: Affiliation) -> Role:
    """Of somebody who is there when their affiliation changes (§9.3 to §9.7, §10.3 to §10.7)."""
    initial = initial_role(configuration, after)
    falls = before.rank >= Affiliation.ADMIN.rank > after.rank
    return initial if falls or initial.rank > role.rank else role


def check_entrance(configuration: Configuration, affiliation: Affiliation, password: str) -> None:
    """§5.2.1 table 5; §7.2.5 to §7.2.9. Owners need no password: they can read it."""
    if affiliation is Affiliation.OUTCAST:
        raise Refused(Condition.FORBIDDEN, "banned from this room")
    if configuration.members_only and affiliation.rank < Affiliation.MEMBER.rank:
        raise MembersOnly
    wanted = configuration.password
    if wanted and affiliation is not Affiliation.OWNER and not _same(password, wanted):
        raise Refused(Condition.NOT_AUTHORIZED, "the room has a password")


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(), other.encode())


def check_speech(role: Role) -> None:
    """§7.4: whoever has no voice cannot speak to all."""
    if role.rank < Role.PARTICIPANT.rank:
        raise Refused(Condition.FORBIDDEN, "you have no voice in this room")


def check_subject(configuration: Configuration, role: Role) -> None:
    """§8.1."""
    if role is Role.MODERATOR:
        return
    if role is not Role.PARTICIPANT or not configuration.subject_by_participants:
        raise Refused(Condition.FORBIDDEN, "only moderators change the subject")


def check_whisper(configuration: Configuration, sender: Role, recipient: Role) -> None:
    """§7.5, with the room's setting for it."""
    needed = {
        Whispering.ANYONE: Role.VISITOR,
        Whispering.PARTICIPANTS: Role.PARTICIPANT,
        Whispering.MODERATORS: Role.MODERATOR,
    }.get(configuration.whispering)
    allowed = needed is not None and sender.rank >= needed.rank
    if not allowed and not (needed is not None and recipient is Role.MODERATOR):
        raise Refused(Condition.FORBIDDEN, "no private messages in this room")


def check_invitation(configuration: Configuration, affiliation: Affiliation) -> None:
    """§7.8.2: into a room for members only, admins invite, or everybody if it says so."""
    if not configuration.members_only or configuration.invitations_by_anyone:
        return
    if affiliation.rank < Affiliation.ADMIN.rank:
        raise Refused(Condition.FORBIDDEN, "only admins invite into this room")


def check_registration(configuration: Configuration, affiliation: Affiliation) -> None:
    """§7.10: who may have a nickname for good, and with it become a member."""
    if affiliation is Affiliation.OUTCAST:
        raise Refused(Condition.NOT_ALLOWED, "banned from this room")
    if affiliation is Affiliation.NONE and configuration.members_only:
        raise Refused(Condition.NOT_ALLOWED, "members are made by admins here")


def check_role_change(mine: tuple[Affiliation, Role], theirs: tuple[Affiliation, Role], role: Role) -> None:
    """§5.1.1 table 3, §8.2 to §8.4, §9.6, §9.7: whether one who is (affiliation, role) may give another
    one a role."""
    (affiliation, own_role), (target, before) = mine, theirs
    if own_role is not Role.MODERATOR and affiliation.rank < Affiliation.ADMIN.rank:
        raise Refused(Condition.FORBIDDEN, "only moderators do that")
    if role is before:
        return
    if role is Role.NONE:
        if target.rank > affiliation.rank:
            raise Refused(Condition.NOT_ALLOWED, "they stand above you in this room")
        return
    if Role.MODERATOR in (role, before) and affiliation.rank < Affiliation.ADMIN.rank:
        raise Refused(Condition.FORBIDDEN, "only admins make moderators")
    if role.rank < before.rank and target.rank >= Affiliation.ADMIN.rank:
        raise Refused(Condition.NOT_ALLOWED, "admins and owners are moderators")


def check_affiliation_change(
    mine: Affiliation, before: Affiliation, after: Affiliation, *, oneself: bool
) -> None:
    """§5.2.1 table 5, §9.1 to §9.5, §10.3 to §10.8. That an owner stays is the caller's to check."""
    if mine.rank < Affiliation.ADMIN.rank:
        raise Refused(Condition.FORBIDDEN, "only admins do that")
    if oneself and after is Affiliation.OUTCAST:
        raise Refused(Condition.CONFLICT, "nobody bans themselves")
    if mine is Affiliation.OWNER or after is before:
        return
    if Affiliation.ADMIN.rank <= max(before.rank, after.rank):
        raise Refused(Condition.NOT_ALLOWED, "only owners do that")


def may_list(mine: Affiliation, role: Role, wanted: Affiliation, configuration: Configuration) -> bool:
    """Whether somebody is told who has an affiliation (§5.2.1: the member list; §9, §10: the others).

    In a room where everybody sees who everybody is, members see the lists of those who may enter, if owners
    let those of their role; members who are not there have the one they would enter with.
    """
    if mine.rank >= Affiliation.ADMIN.rank:
        return True
    if configuration.anonymous or wanted is Affiliation.OUTCAST:
        return False
    usual = role if role is not Role.NONE else initial_role(configuration, mine)
    if usual not in configuration.member_list:
        return False
    return mine is Affiliation.MEMBER or (role is not Role.NONE and configuration.members_only)


def check_owner(affiliation: Affiliation) -> None:
    if affiliation is not Affiliation.OWNER:
        raise Refused(Condition.FORBIDDEN, "only owners do that")


def may_read_archive(configuration: Configuration, affiliation: Affiliation, *, here: bool) -> bool:
    """Whoever could have been there (XEP-0313 §8). A password is not asked for: one has to be there."""
    if affiliation is Affiliation.OUTCAST:
        return False
    if here or affiliation.rank >= Affiliation.MEMBER.rank:
        return True
    return not configuration.members_only and not configuration.password
