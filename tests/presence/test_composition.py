from __future__ import annotations

import itertools
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from presence.address import Address
from presence.composition import Rule, compose
from presence.model import LastSeen, Person, PresenceDocument, PresenceTuple, Show, Snapshot, Source, Text

BOB = Address("bob", "example.org")


def document(*sources: Source) -> PresenceDocument:
    return compose(Snapshot(address=BOB, version=7, sources=sources))


def resource(name: str, since: float = 1, **fields: object) -> Source:
    shown = PresenceTuple(id=name, since=since, **fields)  # type: ignore[arg-type]
    return Source(id=f"xmpp:{name}", tuples=(shown,), since=since)


def registration(name: str = "desk", since: float = 1) -> Source:
    service = PresenceTuple(id=name, contact=f"sip:{name}@example.org", since=since)
    return Source(id=f"sip-reg:{name}", tuples=(service,), since=since)


def publication(
    name: str, *tuples: PresenceTuple, since: float, tied_to: str = "", person: Person | None = None
) -> Source:
    return Source(id=f"sip-pub:{name}", tuples=tuples, since=since, tied_to=tied_to, person=person)


def test_without_sources_there_is_nothing_but_the_farewell() -> None:
    left = LastSeen(at=5, notes=(Text("bye"),))
    composed = compose(Snapshot(address=BOB, version=7, last_seen=left))
    assert composed == PresenceDocument(address=BOB, version=7, last_seen=left)
    assert not composed.online


def test_every_source_adds_its_tuples_the_most_available_first() -> None:
    composed = document(
        resource("low", priority=-1),
        resource("old", since=1),
        resource("new", since=2),
        resource("high", priority=5),
        resource("gone", open=False, priority=9),
    )
    assert [t.id for t in composed.tuples] == ["high", "new", "old", "low", "gone"]


def test_a_publication_takes_the_place_and_the_name_of_its_registration() -> None:
    away = PresenceTuple(id="bs35r9f", show=Show.AWAY, since=3)
    composed = document(registration(), publication("p", away, since=3, tied_to="sip-reg:desk"))
    assert composed.tuples == (
        PresenceTuple(id="desk", show=Show.AWAY, since=3, contact="sip:desk@example.org"),
    )


def test_a_publication_with_several_tuples_keeps_their_names() -> None:
    voice, text = PresenceTuple(id="voice", since=3), PresenceTuple(id="text", since=2)
    composed = document(registration(), publication("p", voice, text, since=3, tied_to="sip-reg:desk"))
    assert composed.tuples == (voice, text)


def test_a_publication_that_speaks_only_of_the_person_leaves_the_registration() -> None:
    busy = Person(activities=("busy",))
    composed = document(registration(), publication("p", since=3, tied_to="sip-reg:desk", person=busy))
    assert composed.tuples == registration().tuples
    assert composed.person == busy


def test_a_publication_whose_registration_is_gone_counts_no_more() -> None:
    stale = publication(
        "p", PresenceTuple(id="x"), since=3, tied_to="sip-reg:desk", person=Person(mood=("sad",))
    )
    assert document(stale) == PresenceDocument(address=BOB, version=7)
    assert [t.id for t in document(stale, resource("a")).tuples] == ["a"]


def test_a_publication_tied_to_nothing_stands_for_itself() -> None:
    service = PresenceTuple(id="x", since=3)
    assert document(publication("p", service, since=3)).tuples == (service,)


def test_a_closed_document_left_from_the_last_login_does_not_hide_the_new_one() -> None:
    closed, opened = PresenceTuple(id="x", open=False), PresenceTuple(id="x", notes=(Text("here"),))
    for old, new in ((1, 2), (2, 2)):
        composed = document(
            registration(),
            publication("a", opened, since=new, tied_to="sip-reg:desk"),
            publication("b", closed, since=old, tied_to="sip-reg:desk"),
        )
        assert [(t.id, t.open, t.notes) for t in composed.tuples] == [("desk", True, (Text("here"),))]
    untied = document(publication("a", opened, since=2), publication("b", closed, since=1))
    assert untied.tuples == (opened,)


def test_the_document_published_last_is_believed_when_it_closes() -> None:
    closed, opened = PresenceTuple(id="x", open=False), PresenceTuple(id="x")
    composed = document(
        registration(),
        publication("a", opened, since=1, tied_to="sip-reg:desk"),
        publication("b", closed, since=2, tied_to="sip-reg:desk"),
    )
    assert not composed.online


def test_a_document_published_twice_shows_once() -> None:
    opened = PresenceTuple(id="x")
    twice = (publication(name, opened, since=1, tied_to="sip-reg:desk") for name in "ab")
    assert [t.id for t in document(registration(), *twice).tuples] == ["desk"]


def test_equal_names_are_told_apart_and_a_resource_keeps_its_own() -> None:
    both = document(registration("home"), registration("desk"), resource("desk"))
    ids = {t.id: t.contact for t in both.tuples}
    assert ids["desk"] == ""
    assert len(ids) == 3
    (suffixed,) = ids.keys() - {"desk", "home"}
    assert suffixed.startswith("desk-")
    fewer = document(registration("desk"), resource("desk"))
    assert {t.id for t in fewer.tuples} == {"desk", suffixed}


def test_the_person_is_taken_field_by_field_from_who_changed_last() -> None:
    old = Person(activities=("meeting",), mood=("happy",), idle_since=4.0)
    new = Person(activities=("on-the-phone",), notes=(Text("later"),))
    composed = document(publication("a", since=2, person=new), publication("b", since=1, person=old))
    assert composed.person == Person(
        activities=("on-the-phone",), mood=("happy",), notes=(Text("later"),), idle_since=4.0
    )


names = st.sampled_from("abc")
tuples = st.builds(
    PresenceTuple,
    id=names,
    open=st.booleans(),
    since=st.integers(0, 3).map(float),
    priority=st.integers(-1, 1),
)
sources = st.lists(
    st.builds(
        Source,
        id=st.builds("{}:{}".format, st.sampled_from(["xmpp", "sip-reg", "sip-pub"]), names),
        tuples=st.lists(tuples, max_size=2).map(tuple),
        since=st.integers(0, 3).map(float),
        tied_to=st.sampled_from(["", "", "sip-reg:a", "sip-reg:b", "sip-pub:a"]),
    ),
    max_size=4,
    unique_by=lambda s: s.id,
)


@given(sources)
def test_order_of_arrival_does_not_matter_and_names_are_unique(given_sources: list[Source]) -> None:
    composed = document(*given_sources)
    assert len({t.id for t in composed.tuples}) == len(composed.tuples)
    for others in itertools.permutations(given_sources):
        assert document(*others) == composed


# --- which comes first ----------------------------------------------------------------------------


def test_the_operators_rule_says_who_speaks_for_the_person() -> None:
    def source(name: str, **fields: Any) -> Source:
        return Source(id=f"xmpp:{name}", tuples=(PresenceTuple(id=name, **fields),))

    snapshot = Snapshot(
        address=Address("alice", "example.org"),
        version=1,
        sources=(
            source("high", priority=9, since=1.0),
            source("new", priority=1, since=9.0),
            source("busy", show=Show.DND, since=5.0),
            source("gone", open=False, priority=99, since=99.0),
        ),
    )

    def order(rule: Rule) -> list[str]:
        return [each.id for each in compose(snapshot, rule).tuples]

    assert order(Rule.PRIORITY) == ["high", "new", "busy", "gone"]
    assert order(Rule.NEWEST) == ["new", "busy", "high", "gone"]
    assert order(Rule.BUSIEST) == ["busy", "high", "new", "gone"]


def test_who_is_on_the_phone_by_any_source_is_on_the_phone() -> None:
    sources = tuple(
        Source(id=f"s:{n}", person=Person(activities=(activity,)), since=float(n))
        for n, activity in enumerate(("on-the-phone", "meeting"))
    )
    document = compose(Snapshot(address=Address("alice", "example.org"), version=1, sources=sources))
    assert document.person == Person(activities=("on-the-phone",))
