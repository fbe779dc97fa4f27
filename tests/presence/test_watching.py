from __future__ import annotations

from presence.address import Address
from presence.composition import compose
from presence.model import Person, PresenceTuple, Snapshot, Source, Text
from presence.orders import Handling
from presence.privacy import EVERY, Grant, Permissions, Rules
from presence.watching import Change, WatchTable

ALICE = Address("alice", "example.org")
BOB = Address("bob", "example.org")
CAROL = Address("carol", "example.org")


def snapshot(version: int, *tuples: PresenceTuple, person: Person | None = None) -> Snapshot:
    sources = [Source(id=f"xmpp:{t.id}", tuples=(t,)) for t in tuples]
    if person:
        sources.append(Source(id="sip-pub:1", person=person))
    return Snapshot(address=ALICE, version=version, sources=tuple(sources))


def test_the_first_watcher_begins_and_the_last_one_ends_the_watching() -> None:
    table: WatchTable[str] = WatchTable()
    assert [table.add(ALICE, w) for w in ("s1", "s2", "s1")] == [True, False, False]
    assert table.watchers(ALICE) == ("s1", "s2")
    assert [table.discard(ALICE, w) for w in ("s1", "s1", "s2", "s2")] == [False, False, True, False]
    assert ALICE not in table
    assert len(table) == 0


def test_a_watcher_that_leaves_ends_what_only_it_watched() -> None:
    table: WatchTable[str] = WatchTable()
    for presentity, watcher in ((ALICE, "s1"), (BOB, "s1"), (BOB, "s2")):
        table.add(presentity, watcher)
    assert table.watched_by("s1") in ([ALICE, BOB], [BOB, ALICE])
    assert table.discard_watcher("s1") == [ALICE]
    assert table.discard_watcher("s1") == []
    assert table.presentities() == [BOB]
    assert table.watchers(BOB) == ("s2",)


def test_what_nobody_watches_is_not_kept() -> None:
    table: WatchTable[str] = WatchTable()
    assert table.update(snapshot(1)) is None
    assert table.document(ALICE) is None


def test_what_is_not_newer_is_dropped() -> None:
    table: WatchTable[str] = WatchTable()
    table.add(ALICE, "s1")
    table.restrict(ALICE, None)
    first = table.update(snapshot(5, PresenceTuple(id="a")))
    assert first == Change(None, compose(snapshot(5, PresenceTuple(id="a"))), (PresenceTuple(id="a"),), ())
    assert table.update(snapshot(5)) is None
    assert table.update(snapshot(4)) is None
    assert table.document(ALICE) == first.current


def test_a_change_tells_what_came_changed_and_went() -> None:
    table: WatchTable[str] = WatchTable()
    table.add(ALICE, "s1")
    table.restrict(ALICE, None)
    a, b, c = (PresenceTuple(id=name) for name in "abc")
    table.update(snapshot(1, a, b))
    louder = PresenceTuple(id="b", priority=9)
    change = table.update(snapshot(2, louder, c))
    assert change is not None
    assert (change.updated, change.gone) == ((louder, c), (a,))
    assert change.visible


def test_a_new_version_of_the_same_shows_nothing_new() -> None:
    table: WatchTable[str] = WatchTable()
    table.add(ALICE, "s1")
    table.restrict(ALICE, None)
    a = PresenceTuple(id="a")
    first = table.update(snapshot(1, a))
    again = table.update(snapshot(2, a))
    assert (first is not None and first.visible, again is not None and again.visible) == (True, False)
    person = table.update(snapshot(3, a, person=Person(mood=("happy",))))
    assert person is not None
    assert (person.visible, person.person_changed, person.updated) == (True, True, ())


def test_who_watches_again_starts_anew() -> None:
    table: WatchTable[str] = WatchTable()
    table.add(ALICE, "s1")
    table.restrict(ALICE, None)
    table.update(snapshot(5))
    table.discard(ALICE, "s1")
    table.add(ALICE, "s1")
    table.restrict(ALICE, None)
    assert table.document(ALICE) is None
    assert table.update(snapshot(1)) is not None


def test_nothing_is_shown_before_it_is_known_what_may_be_and_then_the_newest() -> None:
    table: WatchTable[str] = WatchTable()
    table.add(ALICE, "s1")
    old, new = snapshot(1, PresenceTuple(id="old")), snapshot(2, PresenceTuple(id="new"))
    assert (table.update(new), table.document(ALICE)) == (None, None)
    table.restrict(ALICE, None)
    change = table.update(old)
    assert change is not None
    assert [each.id for each in change.updated] == ["new"]


def test_each_sees_what_the_rules_provide_them_with() -> None:
    table: WatchTable[str] = WatchTable()
    table.add(ALICE, "s1")
    few = Permissions(EVERY)
    rules = Rules([Grant(Handling.ALLOW, few, names=(str(BOB),))])
    assert table.restrict(ALICE, rules) is None
    change = table.update(snapshot(1, PresenceTuple(id="a", notes=(Text("hidden"),))))
    assert change is not None
    seen = table.seen(ALICE, BOB)
    assert seen is not None
    assert (seen.tuples, seen is table.seen(ALICE, BOB)) == ((PresenceTuple(id="a"),), True)
    assert change.seen(table.permissions(ALICE, BOB)).current == seen
    assert table.seen(ALICE, CAROL) is table.seen(ALICE, ALICE) is change.current
    assert table.restrict(ALICE, None) is rules
    assert table.seen(ALICE, BOB) is change.current
