"""What rules show of a person to whom (RFC 5025 §3.3)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from presence.address import Address
from presence.edge.sql import SqlStore
from presence.memory import MemoryBus
from presence.model import LastSeen, Person, PresenceDocument, PresenceTuple, Show, Text, Timed
from presence.orders import Handling, Order
from presence.ports import AccountChanged, NodeInfo
from presence.privacy import (
    ALL,
    CAPABILITIES,
    EVERY,
    EVERYTHING,
    SHOW,
    TIMED,
    Grant,
    Permissions,
    Privacy,
    Rules,
    UserInput,
    seen,
)

ALICE, BOB, CAROL = (Address(name, "example.org") for name in ("alice", "bob", "carol"))
DESK = PresenceTuple(
    id="desk",
    show=Show.AWAY,
    notes=(Text("in the garden"),),
    priority=5,
    since=100.0,
    idle_since=90.0,
    capabilities=("audio",),
    rich=(
        ("class", "home"),
        ("privacy", "audio"),
        ("relationship", "family"),
        ("service-class", "electronic"),
    ),
    timed=(Timed(200.0),),
    opaque={"xmpp": b"<c/>"},
)
PHONE = PresenceTuple(id="phone", rich=(("class", "work"),))
SHE = Person(
    activities=("meeting",),
    mood=("happy",),
    notes=(Text("busy today"),),
    idle_since=80.0,
    ringing=True,
    rich=(("class", "private"), ("place-type", "office"), ("sphere", "work")),
)
ALL_OF_IT = PresenceDocument(address=ALICE, version=7, tuples=(DESK, PHONE), person=SHE)


def permit(*attributes: str, user_input: UserInput = UserInput.FALSE) -> Permissions:
    return Permissions(EVERY, EVERY, frozenset(attributes), user_input)


def desk(permissions: Permissions) -> PresenceTuple:
    return seen(ALL_OF_IT, permissions).tuples[0]


def she(permissions: Permissions) -> Person:
    person = seen(ALL_OF_IT, permissions).person
    assert person is not None
    return person


def test_without_any_permission_there_is_nobody() -> None:
    nobody = seen(replace(ALL_OF_IT, last_seen=LastSeen(3.0)), Permissions())
    assert nobody == PresenceDocument(address=ALICE, version=7, person_hidden=True)


def test_contact_basic_status_timestamp_and_service_class_are_always_shown() -> None:
    bare = seen(ALL_OF_IT, permit())
    assert bare.tuples[0] == PresenceTuple(
        id="desk", priority=5, since=100.0, rich=(("service-class", "electronic"),), opaque={"xmpp": b""}
    )
    assert bare.person == Person()


@pytest.mark.parametrize(
    ("selector", "ids"),
    [(("class", "home"), ["desk"]), (("class", "Home"), []), (("id", "phone"), ["phone"]), (("id", "x"), [])],
)
def test_services_are_chosen_by_class_and_id(selector: tuple[str, str], ids: list[str]) -> None:
    shown = seen(ALL_OF_IT, replace(permit(), services=frozenset((selector,))))
    assert [each.id for each in shown.tuples] == ids


@pytest.mark.parametrize(
    ("selector", "hidden"),
    [
        (("class", "private"), False),
        (("id", "person"), False),
        (("class", "work"), True),
        (("id", "p"), True),
    ],
)
def test_the_person_is_chosen_by_class_and_id(selector: tuple[str, str], hidden: bool) -> None:
    shown = seen(ALL_OF_IT, replace(permit(), persons=frozenset((selector,))))
    assert (shown.person is None, shown.person_hidden) == (hidden, hidden)


def test_each_permission_shows_its_attribute() -> None:
    assert desk(permit("note")).notes == DESK.notes
    assert she(permit("note")).notes == SHE.notes
    assert (she(permit("activities")).activities, she(permit("activities")).ringing) == (("meeting",), True)
    assert desk(permit("activities")).show is desk(permit(SHOW)).show is Show.AWAY
    assert she(permit("mood")).mood == ("happy",)
    assert dict(she(permit("place-type")).rich) == {"place-type": "office"}
    assert dict(she(permit("class", "sphere")).rich) == {"class": "private", "sphere": "work"}
    shown = dict(desk(permit("relationship", "privacy")).rich)
    assert shown == {"relationship": "family", "privacy": "audio", "service-class": "electronic"}
    assert desk(permit(CAPABILITIES)).capabilities == ("audio",)
    assert desk(permit(TIMED)).timed == DESK.timed


@pytest.mark.parametrize(
    ("how", "service", "person"),
    [
        (UserInput.FALSE, None, None),
        (UserInput.BARE, 0.0, 0.0),
        (UserInput.THRESHOLDS, 0.0, 0.0),
        (UserInput.FULL, 90.0, 80.0),
    ],
)
def test_user_input_has_degrees(how: UserInput, service: float | None, person: float | None) -> None:
    assert desk(permit(user_input=how)).idle_since == service
    assert she(permit(user_input=how)).idle_since == person


def test_all_attributes_are_all() -> None:
    assert seen(ALL_OF_IT, Permissions() | permit(ALL)) == ALL_OF_IT


def test_who_has_left_left_and_their_last_words_are_a_note() -> None:
    gone = PresenceDocument(address=ALICE, version=8, last_seen=LastSeen(50.0, (Text("bye"),)))
    assert seen(gone, permit("note")).last_seen == gone.last_seen
    assert seen(gone, permit()).last_seen == LastSeen(50.0)
    assert seen(gone, Permissions()).last_seen is None


@pytest.mark.parametrize(
    "permissions",
    [
        Permissions(),
        permit(),
        permit("note", "class", user_input=UserInput.BARE),
        replace(permit("mood"), services=frozenset((("id", "phone"),)), persons=frozenset()),
        EVERYTHING,
    ],
)
def test_seen_once_more_it_is_the_same(permissions: Permissions) -> None:
    once = seen(ALL_OF_IT, permissions)
    assert seen(once, permissions) == once


# --- whom rules are for -------------------------------------------------------------------------------


def grant(handling: Handling = Handling.ALLOW, *attributes: str, **whom: object) -> Grant:
    return Grant(handling, permit(*attributes), **whom)  # type: ignore[arg-type]


EVERYBODY = (Order(Handling.ALLOW),)


def test_what_several_rules_provide_is_united() -> None:
    rules = Rules(
        [grant(Handling.ALLOW, "note", names=(str(BOB),)), grant(Handling.CONFIRM, "mood", many=EVERYBODY)]
    )
    assert rules.permissions(BOB) == permit("note", "mood")


def test_whom_the_rules_do_not_allow_sees_all_if_anything() -> None:
    rules = Rules([grant(names=(str(BOB),)), grant(Handling.CONFIRM, names=(str(CAROL),))])
    assert rules.permissions(BOB) == permit()
    assert rules.permissions(CAROL) is rules.permissions(Address("dave", "example.org")) is None


def test_other_identities_are_those_no_rule_names() -> None:
    rules = Rules([grant(Handling.ALLOW, "note", names=(str(BOB),)), grant(others=True)])
    assert rules.permissions(BOB) == permit("note")
    assert rules.permissions(CAROL) == permit()


def test_many_may_be_a_domain_with_exceptions() -> None:
    many = (Order(Handling.ALLOW, "example.org", (str(BOB),)),)
    rules = Rules([grant(many=many)])
    assert (rules.permissions(CAROL), rules.permissions(BOB)) == (permit(), None)
    assert rules.permissions(Address("carol", "elsewhere.example")) is None


def test_who_is_blocked_is_told_or_not_as_the_rules_say_and_they_may_say_nothing() -> None:
    rules = Rules(
        [
            grant(Handling.BLOCK, names=(str(BOB),)),
            grant(Handling.POLITE_BLOCK, names=(str(CAROL),)),
            grant(Handling.ALLOW, names=(str(ALICE),)),
        ]
    )
    assert (rules.polite(BOB), rules.polite(CAROL)) == (False, True)
    assert rules.polite(ALICE) is rules.polite(Address("dave", "example.org")) is None


def test_a_rule_that_shows_all_wins() -> None:
    rules = Rules([grant(names=(str(BOB),)), Grant(Handling.ALLOW, EVERYTHING, many=EVERYBODY)])
    assert rules.permissions(BOB) is None


# --- the store ----------------------------------------------------------------------------------------


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqlStore]:
    store = SqlStore(f"sqlite+aiosqlite:///{tmp_path}/tandem.db")
    await store.migrate()
    yield store
    await store.close()


async def test_rules_are_given_once_and_told_to_every_node(store: SqlStore) -> None:
    bus = MemoryBus(clock=lambda: 100.0)
    await bus.join(NodeInfo(name="sip-1", role="sip", incarnation="i", started=100.0, beat=100.0))
    privacy = Privacy(store, bus, lambda: 100.0)
    assert await privacy.of([ALICE, BOB]) == {}
    grants = [grant(Handling.ALLOW, "note", "mood", names=(str(BOB),))]
    await privacy.give(ALICE, grants)
    await privacy.give(ALICE, grants)
    assert await bus.receive("sip-1", 0) == [AccountChanged(address=ALICE)]
    found = await privacy.of([ALICE, BOB])
    assert (list(found), found[ALICE].permissions(BOB)) == ([ALICE], permit("note", "mood"))
    elsewhere = Privacy(store, bus, lambda: 100.0)
    assert (await elsewhere.of([ALICE]))[ALICE].permissions(BOB) == permit("note", "mood")
    await privacy.give(ALICE, ())
    assert await privacy.of([ALICE]) == {}
    assert await bus.receive("sip-1", 0) == [AccountChanged(address=ALICE)]
    elsewhere.forget(ALICE)
    assert await elsewhere.of([ALICE]) == {}
