"""presence/rooms/privileges.py: the tables of XEP-0045 §5, row by row."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from presence.errors import Condition, Refused
from presence.rooms.model import Affiliation, Configuration, Role, Whispering
from presence.rooms.privileges import (
    MembersOnly,
    check_affiliation_change,
    check_entrance,
    check_invitation,
    check_role_change,
    check_speech,
    check_subject,
    check_whisper,
    initial_role,
    may_list,
    may_read_archive,
    role_after,
)

OUTCAST, NONE, MEMBER, ADMIN, OWNER = Affiliation
NOBODY, VISITOR, PARTICIPANT, MODERATOR = Role
OPEN = Configuration()
MODERATED = Configuration(moderated=True)
CLOSED = Configuration(members_only=True)
PROTECTED = Configuration(password="oolong")


def answer(check: Callable[..., None], *arguments: Any, **named: Any) -> str:
    """`yes`, or the condition that is heard."""
    try:
        check(*arguments, **named)
    except MembersOnly:
        return "members-only"
    except Refused as refusal:
        return refusal.condition.value
    return "yes"


@pytest.mark.parametrize(
    ("configuration", "roles"),
    [
        (OPEN, {NONE: PARTICIPANT, MEMBER: PARTICIPANT, ADMIN: MODERATOR, OWNER: MODERATOR}),
        (MODERATED, {NONE: VISITOR, MEMBER: PARTICIPANT, ADMIN: MODERATOR, OWNER: MODERATOR}),
    ],
)
def test_the_role_one_enters_with(configuration: Configuration, roles: dict[Affiliation, Role]) -> None:
    assert {each: initial_role(configuration, each) for each in roles} == roles


@pytest.mark.parametrize(
    ("configuration", "answers"),
    [
        (OPEN, ["forbidden", "yes", "yes", "yes", "yes"]),
        (CLOSED, ["forbidden", "members-only", "yes", "yes", "yes"]),
        (PROTECTED, ["forbidden", "not-authorized", "not-authorized", "not-authorized", "yes"]),
    ],
)
def test_who_enters(configuration: Configuration, answers: list[str]) -> None:
    assert [answer(check_entrance, configuration, a, "") for a in Affiliation] == answers


def test_the_password_opens_the_room() -> None:
    assert answer(check_entrance, PROTECTED, NONE, "oolong") == "yes"
    assert answer(check_entrance, PROTECTED, NONE, "assam") == "not-authorized"


def test_who_speaks() -> None:
    assert [answer(check_speech, each) for each in Role] == ["forbidden", "forbidden", "yes", "yes"]


def test_who_changes_the_subject() -> None:
    free = Configuration(subject_by_participants=True)
    assert [answer(check_subject, OPEN, r) for r in Role] == ["forbidden"] * 3 + ["yes"]
    assert [answer(check_subject, free, r) for r in Role] == ["forbidden"] * 2 + ["yes"] * 2


@pytest.mark.parametrize(
    ("whispering", "to_others", "to_moderators"),
    [
        (Whispering.ANYONE, ["yes", "yes", "yes"], ["yes", "yes", "yes"]),
        (Whispering.PARTICIPANTS, ["forbidden", "yes", "yes"], ["yes", "yes", "yes"]),
        (Whispering.MODERATORS, ["forbidden", "forbidden", "yes"], ["yes", "yes", "yes"]),
        (Whispering.NONE, ["forbidden"] * 3, ["forbidden"] * 3),
    ],
)
def test_who_whispers(whispering: Whispering, to_others: list[str], to_moderators: list[str]) -> None:
    configuration = Configuration(whispering=whispering)
    roles = (VISITOR, PARTICIPANT, MODERATOR)
    for recipient, answers in ((PARTICIPANT, to_others), (MODERATOR, to_moderators)):
        found = [answer(check_whisper, configuration, r, recipient) for r in roles]
        assert found == answers


def test_who_invites() -> None:
    free = Configuration(members_only=True, invitations_by_anyone=True)
    everybody = [NONE, MEMBER, ADMIN, OWNER]
    for configuration, answers in (
        (OPEN, ["yes"] * 4),
        (CLOSED, ["forbidden", "forbidden", "yes", "yes"]),
        (free, ["yes"] * 4),
    ):
        assert [answer(check_invitation, configuration, a) for a in everybody] == answers


PARTICIPANT_OF_NONE = (NONE, PARTICIPANT)


@pytest.mark.parametrize(
    ("mine", "theirs", "role", "expected"),
    [
        # §8.2: kicking
        ((NONE, PARTICIPANT), PARTICIPANT_OF_NONE, NOBODY, "forbidden"),
        ((MEMBER, PARTICIPANT), (NONE, VISITOR), NOBODY, "forbidden"),
        ((NONE, MODERATOR), PARTICIPANT_OF_NONE, NOBODY, "yes"),
        ((NONE, MODERATOR), (MEMBER, PARTICIPANT), NOBODY, "not-allowed"),
        ((MEMBER, MODERATOR), (MEMBER, PARTICIPANT), NOBODY, "yes"),
        ((ADMIN, MODERATOR), (OWNER, MODERATOR), NOBODY, "not-allowed"),
        ((OWNER, MODERATOR), (ADMIN, MODERATOR), NOBODY, "yes"),
        # §8.3, §8.4: voice
        ((NONE, MODERATOR), (NONE, VISITOR), PARTICIPANT, "yes"),
        ((NONE, MODERATOR), PARTICIPANT_OF_NONE, VISITOR, "yes"),
        ((NONE, PARTICIPANT), (NONE, VISITOR), PARTICIPANT, "forbidden"),
        ((OWNER, MODERATOR), (ADMIN, MODERATOR), VISITOR, "not-allowed"),
        # §9.6, §9.7: moderators
        ((NONE, MODERATOR), PARTICIPANT_OF_NONE, MODERATOR, "forbidden"),
        ((ADMIN, MODERATOR), PARTICIPANT_OF_NONE, MODERATOR, "yes"),
        ((ADMIN, MODERATOR), (NONE, MODERATOR), PARTICIPANT, "yes"),
        ((NONE, MODERATOR), (NONE, MODERATOR), PARTICIPANT, "forbidden"),
        ((OWNER, MODERATOR), (OWNER, MODERATOR), PARTICIPANT, "not-allowed"),
        ((ADMIN, NOBODY), PARTICIPANT_OF_NONE, MODERATOR, "yes"),
    ],
)
def test_who_gives_which_role(
    mine: tuple[Affiliation, Role], theirs: tuple[Affiliation, Role], role: Role, expected: str
) -> None:
    assert answer(check_role_change, mine, theirs, role) == expected


def test_who_gives_which_affiliation() -> None:
    """§5.2.1 table 5: nobody below admin; admins up to member; owners everything."""
    for before in Affiliation:
        for after in Affiliation:
            for mine in (OUTCAST, NONE, MEMBER):
                asked = answer(check_affiliation_change, mine, before, after, oneself=False)
                assert asked == "forbidden"
            high = before is not after and {before, after} & {ADMIN, OWNER}
            asked = answer(check_affiliation_change, ADMIN, before, after, oneself=False)
            assert asked == ("not-allowed" if high else "yes")
            asked = answer(check_affiliation_change, OWNER, before, after, oneself=False)
            assert asked == "yes"


def test_nobody_bans_themselves() -> None:
    with pytest.raises(Refused) as refusal:
        check_affiliation_change(OWNER, OWNER, OUTCAST, oneself=True)
    assert refusal.value.condition is Condition.CONFLICT


@pytest.mark.parametrize(
    ("role", "before", "after", "then"),
    [
        (VISITOR, NONE, MEMBER, PARTICIPANT),
        (PARTICIPANT, NONE, ADMIN, MODERATOR),
        (MODERATOR, ADMIN, MEMBER, PARTICIPANT),
        (MODERATOR, OWNER, NONE, VISITOR),
        (MODERATOR, NONE, MEMBER, MODERATOR),
        (PARTICIPANT, MEMBER, NONE, PARTICIPANT),
    ],
)
def test_a_role_follows_the_affiliation(
    role: Role, before: Affiliation, after: Affiliation, then: Role
) -> None:
    assert role_after(MODERATED, role, before, after) is then


def test_who_reads_which_list() -> None:
    named = Configuration(members_only=True, anonymous=False)
    for wanted in Affiliation:
        assert may_list(ADMIN, MODERATOR, wanted, CLOSED)
        assert not may_list(MEMBER, PARTICIPANT, wanted, CLOSED)
    assert may_list(MEMBER, NOBODY, MEMBER, named)
    assert may_list(NONE, PARTICIPANT, OWNER, named)
    assert not may_list(NONE, NOBODY, MEMBER, named)
    assert not may_list(MEMBER, PARTICIPANT, OUTCAST, named)


def test_who_reads_the_archive() -> None:
    assert [may_read_archive(OPEN, each, here=False) for each in Affiliation] == [False] + [True] * 4
    assert [may_read_archive(CLOSED, each, here=False) for each in Affiliation] == [False] * 2 + [True] * 3
    assert not may_read_archive(PROTECTED, NONE, here=False)
    assert may_read_archive(PROTECTED, NONE, here=True)
    assert not may_read_archive(OPEN, OUTCAST, here=True)
