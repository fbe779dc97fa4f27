"""presence/rooms/decisions.py, administration.py: what an action changes, and who hears of it."""

from __future__ import annotations

from dataclasses import replace as changed

import pytest
from msgspec.structs import replace

from presence.address import Address
from presence.errors import Condition, Refused
from presence.model import PresenceTuple, Show
from presence.rooms.administration import GiveAffiliation, GiveRole, administer
from presence.rooms.decisions import (
    MAX_ATTENDANCES,
    MAX_NICKS,
    Bounds,
    Entry,
    Step,
    abandon,
    configure,
    destroy,
    enter,
    invite,
    leave,
    present,
    register,
    rename,
    speak,
    unregister,
    whisper,
)
from presence.rooms.events import Affected, Configured, Departure, Entered, Left, Renamed, Said, Updated
from presence.rooms.model import Affiliated, Affiliation, Configuration, Role, Room
from tests.support.rooms import ALICE, BOB, CAROL, DAVE, attendance, occupant, room, said

BOUNDS = Bounds()


def entry(address: object = BOB, nick: str = "", token: str = "", **more: object) -> Entry:
    there = attendance(address, token, **more)  # type: ignore[arg-type]
    return Entry(attendance=there, nick=nick or there.address.local)


def refused(action: object, condition: Condition) -> None:
    with pytest.raises(Refused) as refusal:
        action()  # type: ignore[operator]
    assert refusal.value.condition is condition


def both() -> Room:
    return room(occupant(ALICE, Role.MODERATOR), occupant(BOB))


def test_entering_adds_an_occupant_and_asks_for_history() -> None:
    step = enter(room(occupant()), entry())
    assert step.delta.occupants == (occupant(BOB),)
    assert step.events == (Entered(nick="bob", token="bob"),)
    assert step.wish is not None


def test_a_full_room_lets_only_admins_in() -> None:
    full = room(occupant(), affiliations={CAROL: Affiliation.ADMIN}, max_occupants=1)
    refused(lambda: enter(full, entry()), Condition.SERVICE_UNAVAILABLE)
    assert enter(full, entry(CAROL)).events


def test_a_client_that_enters_again_is_shown_everything_and_nobody_else_is() -> None:
    step = enter(both(), entry(token="bob"))
    assert step.events == (Entered(nick="bob", token="bob", first=False),)
    assert step.delta.occupants == (occupant(BOB),)


def test_a_client_that_lost_its_session_takes_its_own_place() -> None:
    (now,) = enter(both(), entry(token="another")).delta.occupants
    assert [each.token for each in now.attendances] == ["another"]


def test_endpoints_and_nicknames_of_one_person_are_bounded() -> None:
    state = room(occupant())
    for number in range(MAX_ATTENDANCES):
        step = enter(state, entry(nick="bob", token=f"t{number}", endpoint=f"xmpp:r{number}"))
        state.apply(number + 2, step.delta)
    more = entry(nick="bob", token="more", endpoint="xmpp:more")
    refused(lambda: enter(state, more), Condition.RESOURCE_CONSTRAINT)
    for number in range(MAX_NICKS - 1):
        state.apply(100 + number, enter(state, entry(nick=f"n{number}", token=f"n{number}")).delta)
    refused(lambda: enter(state, entry(nick="one more", token="x")), Condition.NOT_ALLOWED)


def test_nicknames_that_are_taken_or_reserved_are_refused() -> None:
    state = room(occupant(), affiliations={CAROL: Affiliation.MEMBER}, nicks={CAROL: "caz"})
    refused(lambda: enter(state, entry(nick="alice")), Condition.CONFLICT)
    refused(lambda: enter(state, entry(nick="caz")), Condition.CONFLICT)
    assert enter(state, entry(CAROL, nick="caz")).events


def test_a_nickname_can_be_seen() -> None:
    """§17.1."""
    refused(lambda: enter(both(), entry(CAROL, nick="  ")), Condition.BAD_REQUEST)
    refused(lambda: rename(both(), "bob", " ", PresenceTuple(id="")), Condition.BAD_REQUEST)
    refused(lambda: register(both(), BOB, " ", BOUNDS), Condition.BAD_REQUEST)


def test_whoever_leaves_with_one_endpoint_of_two_is_still_there() -> None:
    two = replace(occupant(BOB), attendances=(attendance(BOB, "b1"), attendance(BOB, "b2")))
    step = leave(room(occupant(), two), ("b1",))
    (left,) = step.events
    assert isinstance(left, Left)
    assert (left.whole, [each.token for each in left.occupant.attendances]) == (False, ["b1"])
    assert [each.token for each in step.delta.occupants[0].attendances] == ["b2"]


def test_the_last_who_leaves_closes_a_temporary_room_only() -> None:
    assert leave(room(occupant()), ("alice",)).delta.gone
    assert not leave(both(), ("alice",)).delta.gone
    assert not leave(room(occupant(), persistent=True), ("alice",)).delta.gone
    assert leave(room(occupant(), persistent=True, locked=True), ("alice",)).delta.gone


def test_whoever_is_not_there_is_not_missed() -> None:
    assert leave(both(), ("nobody",)) == Step(delta=leave(both(), ()).delta)
    assert leave(None, ("nobody",)) == Step()


def test_another_nickname_keeps_everything_else() -> None:
    shown = PresenceTuple(id="", show=Show.AWAY)
    step = rename(both(), "bob", "robert", shown)
    (now,) = step.delta.occupants
    assert (now.nick, now.role, now.presence.show, step.delta.left) == (
        "robert",
        Role.PARTICIPANT,
        Show.AWAY,
        ("bob",),
    )
    assert step.events == (Renamed(before=occupant(BOB), nick="robert"),)


def test_only_who_is_there_acts() -> None:
    for action in (
        lambda: present(both(), "nobody", PresenceTuple(id="")),
        lambda: speak(both(), "nobody", said(), lasting=True),
        lambda: whisper(both(), "nobody", "bob", said()),
        lambda: invite(both(), "nobody", CAROL, BOUNDS),
    ):
        refused(action, Condition.NOT_ACCEPTABLE)


def test_of_a_room_that_is_not_there_or_not_open_that_is_said() -> None:
    """§17.2."""
    refused(lambda: speak(None, "bob", said(), lasting=True), Condition.ITEM_NOT_FOUND)
    new = room(occupant(ALICE, Role.MODERATOR), locked=True)
    refused(lambda: whisper(new, "bob", "alice", said()), Condition.ITEM_NOT_FOUND)
    assert speak(new, "alice", said(), lasting=True).events


def test_who_enters_again_with_another_show_is_seen_with_it() -> None:
    """§17.3, rule 3."""
    away = entry(token="bob")
    away = changed(away, attendance=replace(away.attendance, presence=PresenceTuple(id="", show=Show.AWAY)))
    assert enter(both(), away).events == (
        Updated(nick="bob"), Entered(nick="bob", token="bob", first=False),
    )  # fmt: skip


def test_what_lasts_is_kept_where_the_room_is_archived() -> None:
    kept = speak(both(), "bob", said(), lasting=True)
    assert (kept.history, kept.archived, kept.events) == (said(), said(), (Said(message=said()),))
    passing = speak(both(), "bob", said(), lasting=False)
    assert (passing.history, passing.archived) == (None, None)
    private = speak(room(occupant(BOB), archived=False), "bob", said(), lasting=True)
    assert (private.history, private.archived) == (said(), None)


def test_a_subject_is_the_rooms() -> None:
    subject = replace(said(), bodies=(), subjects=said().bodies)
    step = speak(both(), "alice", subject, lasting=True)
    assert step.delta.head is not None
    assert step.delta.head.subject == subject
    assert step.history is None
    refused(lambda: speak(both(), "bob", subject, lasting=True), Condition.FORBIDDEN)


def test_only_one_hears_a_whisper() -> None:
    assert whisper(both(), "alice", "bob", said()).only == "bob"
    refused(lambda: whisper(both(), "alice", "nobody", said()), Condition.ITEM_NOT_FOUND)


def test_whoever_registers_becomes_a_member_with_a_nickname() -> None:
    step = register(both(), BOB, "robert", BOUNDS)
    assert step.delta.affiliated == (Affiliated(BOB, Affiliation.MEMBER, "robert"),)
    assert step.events == (Updated(nick="bob"),)
    refused(lambda: register(room(members_only=True), BOB, "x", BOUNDS), Condition.NOT_ALLOWED)
    outcast = room(affiliations={BOB: Affiliation.OUTCAST})
    refused(lambda: register(outcast, BOB, "x", BOUNDS), Condition.NOT_ALLOWED)
    refused(
        lambda: register(both(), BOB, "x", changed(BOUNDS, max_affiliations=1)), Condition.RESOURCE_CONSTRAINT
    )
    member = room(affiliations={BOB: Affiliation.MEMBER}, nicks={BOB: "robert"})
    assert unregister(member, BOB).delta.affiliated == (Affiliated(BOB),)
    refused(lambda: unregister(member, CAROL), Condition.ITEM_NOT_FOUND)


def test_a_room_that_closes_sends_strangers_out() -> None:
    state = room(occupant(), occupant(BOB), occupant(CAROL), affiliations={CAROL: Affiliation.MEMBER})
    step = configure(state, ALICE, Configuration(members_only=True), BOUNDS)
    configured, left = step.events
    assert configured == Configured(changes=("members_only",))
    assert isinstance(left, Left)
    assert (left.occupant.nick, left.why, step.delta.left) == ("bob", Departure.NOT_MEMBER, ("bob",))


def test_configurations_stay_within_bounds_and_owners_hands() -> None:
    big = Configuration(max_occupants=1_000_000, history=1_000_000)
    head = configure(both(), ALICE, big, BOUNDS).delta.head
    assert head is not None
    assert (head.configuration.max_occupants, head.configuration.history) == (500, 200)
    refused(lambda: configure(both(), BOB, big, BOUNDS), Condition.FORBIDDEN)
    assert configure(both(), ALICE, both().configuration, BOUNDS) == Step()


def test_the_first_configuration_opens_the_room_without_a_word() -> None:
    locked = room(occupant(), locked=True)
    step = configure(locked, ALICE, Configuration(name="Tea"), BOUNDS)
    assert step.events == ()
    assert step.delta.head is not None
    assert not step.delta.head.locked


def test_an_empty_room_that_is_not_persistent_any_more_goes() -> None:
    assert configure(room(persistent=True), ALICE, Configuration(), BOUNDS).delta.gone


def test_only_owners_destroy_and_only_new_rooms_are_abandoned() -> None:
    step = destroy(both(), ALICE, "over")
    assert (step.delta.gone, set(step.delta.left)) == (True, {"alice", "bob"})
    refused(lambda: destroy(both(), BOB), Condition.FORBIDDEN)
    assert abandon(both(), ALICE) == Step()
    assert abandon(room(occupant(), locked=True), ALICE).delta.gone


# --- administration ----------------------------------------------------------------------------------


def given(state: Room, *changes: GiveRole | GiveAffiliation) -> Step:
    return administer(state, ALICE, "alice", changes, BOUNDS)


def test_a_ban_removes_every_nickname_of_a_person() -> None:
    state = room(occupant(), occupant(BOB), replace(occupant(BOB), nick="robert"))
    step = given(state, GiveAffiliation(address=BOB, affiliation=Affiliation.OUTCAST, reason="spam"))
    assert set(step.delta.left) == {"bob", "robert"}
    assert step.delta.affiliated == (Affiliated(BOB, Affiliation.OUTCAST, "", "spam"),)
    assert {(e.why, e.reason, e.by) for e in step.events if isinstance(e, Left)} == {
        (Departure.BANNED, "spam", "alice")
    }


def test_those_who_are_not_there_are_spoken_of() -> None:
    step = given(both(), GiveAffiliation(address=DAVE, affiliation=Affiliation.MEMBER))
    assert step.events == (Affected(address=DAVE, affiliation=Affiliation.MEMBER),)


def test_changes_build_on_each_other_and_fail_together() -> None:
    promote = GiveAffiliation(nick="bob", affiliation=Affiliation.ADMIN)
    step = given(both(), promote, GiveAffiliation(address=BOB, affiliation=Affiliation.OWNER))
    assert step.delta.affiliated == (Affiliated(BOB, Affiliation.OWNER),)
    assert step.delta.occupants[0].role is Role.MODERATOR
    resign = GiveAffiliation(address=ALICE, affiliation=Affiliation.MEMBER)
    assert given(both(), GiveAffiliation(address=BOB, affiliation=Affiliation.OWNER), resign).delta.affiliated
    refused(lambda: given(both(), resign), Condition.CONFLICT)
    refused(lambda: given(both(), promote, GiveRole(nick="x", role=Role.NONE)), Condition.ITEM_NOT_FOUND)


def test_a_nickname_comes_with_membership_and_goes_with_it() -> None:
    step = given(both(), GiveAffiliation(address=BOB, affiliation=Affiliation.MEMBER, reserve="robert"))
    assert step.delta.affiliated == (Affiliated(BOB, Affiliation.MEMBER, "robert"),)
    state = room(affiliations={BOB: Affiliation.MEMBER}, nicks={BOB: "robert"})
    gone = given(state, GiveAffiliation(address=BOB, affiliation=Affiliation.NONE))
    assert gone.delta.affiliated == (Affiliated(BOB),)
    taken = GiveAffiliation(address=CAROL, affiliation=Affiliation.MEMBER, reserve="robert")
    refused(lambda: given(state, taken), Condition.CONFLICT)


def test_affiliations_are_bounded() -> None:
    bounds = Bounds(max_affiliations=1)
    change = (GiveAffiliation(address=BOB, affiliation=Affiliation.MEMBER),)
    refused(lambda: administer(both(), ALICE, "alice", change, bounds), Condition.RESOURCE_CONSTRAINT)
    people = (Affiliated(BOB, Affiliation.ADMIN),)
    refused(lambda: configure(both(), ALICE, Configuration(), bounds, people), Condition.RESOURCE_CONSTRAINT)
    member = room(occupant(), affiliations={BOB: Affiliation.MEMBER})
    assert configure(member, ALICE, Configuration(), bounds, people).delta.affiliated == people


def test_what_is_kept_of_the_affiliated_is_bounded() -> None:
    """Reasons, nicknames and addresses are as long as somebody likes."""
    bounds = Bounds(max_affiliations=10)
    people = [Address(f"p{number}", "example.org") for number in range(8)]
    long = tuple(
        GiveAffiliation(address=p, affiliation=Affiliation.OUTCAST, reason="x" * 200) for p in people
    )
    refused(lambda: administer(both(), ALICE, "alice", long, bounds), Condition.RESOURCE_CONSTRAINT)
    short = tuple(replace_reason(change, "x" * 100) for change in long)
    state = both()
    state.apply(2, administer(state, ALICE, "alice", short, bounds).delta)
    refused(lambda: administer(state, ALICE, "alice", long, bounds), Condition.RESOURCE_CONSTRAINT)
    shorter = tuple(replace_reason(change, "") for change in long)
    assert len(administer(state, ALICE, "alice", shorter, bounds).delta.affiliated) == 8


def replace_reason(change: GiveAffiliation, reason: str) -> GiveAffiliation:
    return changed(change, reason=reason)


def test_nothing_of_an_owner_is_an_admins_to_change() -> None:
    state = room(
        occupant(ALICE, Role.MODERATOR),
        occupant(BOB, Role.MODERATOR),
        affiliations={BOB: Affiliation.ADMIN, CAROL: Affiliation.OWNER, DAVE: Affiliation.ADMIN},
        nicks={CAROL: "caz"},
    )

    def by_bob(*changes: GiveAffiliation | GiveRole) -> Step:
        return administer(state, BOB, "bob", changes, BOUNDS)

    for above, standing in ((CAROL, Affiliation.OWNER), (DAVE, Affiliation.ADMIN)):
        nickname = GiveAffiliation(address=above, affiliation=standing, reserve="fool")
        refused(lambda change=nickname: by_bob(change), Condition.NOT_ALLOWED)
        same = GiveAffiliation(address=above, affiliation=standing, reason="a fool")
        assert by_bob(same).delta.affiliated == ()
    own = GiveAffiliation(address=BOB, affiliation=Affiliation.ADMIN, reserve="robert")
    assert by_bob(own).delta.affiliated == (Affiliated(BOB, Affiliation.ADMIN, "robert"),)
    for role in (Role.NONE, Role.VISITOR, Role.PARTICIPANT):
        refused(lambda role=role: by_bob(GiveRole(nick="alice", role=role)), Condition.NOT_ALLOWED)


def test_nobody_is_given_a_nickname_that_somebody_has() -> None:
    theirs = GiveAffiliation(address=CAROL, affiliation=Affiliation.MEMBER, reserve="bob")
    refused(lambda: given(both(), theirs), Condition.CONFLICT)
    one = GiveAffiliation(address=CAROL, affiliation=Affiliation.MEMBER, reserve="caz")
    other = GiveAffiliation(address=DAVE, affiliation=Affiliation.MEMBER, reserve="caz")
    refused(lambda: given(both(), one, other), Condition.CONFLICT)
    assert given(both(), GiveAffiliation(nick="bob", affiliation=Affiliation.MEMBER, reserve="bob")).delta
