"""xmpp.publication: the steps that bring the bus to a session's state."""

from __future__ import annotations

from presence.model import LastSeen, PresenceTuple, Text
from presence.ports import Lease, Update
from xmpp.publication import Publication

HERE = PresenceTuple(id="sofa", priority=0)
AWAY = PresenceTuple(id="sofa", priority=0, since=2.0)
SHY = PresenceTuple(id="sofa", priority=-1)
BYE = PresenceTuple(id="sofa", open=False, notes=(Text("bye"),))


def publication() -> Publication:
    return Publication("sofa", "xmpp-1/i1")


def run(publication: Publication) -> list[Update]:
    """Perform steps until there are none."""
    made = []
    while (step := publication.step(9.0)) is not None:
        made.append(step.update)
        publication.made(step)
        assert len(made) < 10
    return made


def test_a_connected_client_has_an_endpoint_that_takes_nothing_for_the_bare_address() -> None:
    (update,) = run(publication())
    (endpoint,) = update.put_endpoints
    assert (endpoint.id, endpoint.node, endpoint.eligible) == ("xmpp:sofa", "xmpp-1", False)
    assert endpoint.lease == Lease(owner="xmpp-1/i1")
    assert update.drop_sources == ("xmpp:sofa",), "an earlier session of this name may have left one"


def test_initial_presence_is_one_step_even_right_after_binding() -> None:
    state = publication()
    state.wanted = HERE
    (update,) = run(state)
    assert [w.source.tuples for w in update.put_sources] == [(HERE,)]
    assert [e.eligible for e in update.put_endpoints] == [True]


def test_changes_in_between_are_left_out_and_the_endpoint_is_not_put_again() -> None:
    state = publication()
    state.wanted = HERE
    run(state)
    state.wanted = PresenceTuple(id="sofa", priority=0, since=1.0)
    state.wanted = AWAY
    (update,) = run(state)
    assert [w.source.tuples for w in update.put_sources] == [(AWAY,)]
    assert update.put_endpoints == ()


def test_a_negative_priority_takes_the_endpoint_out_of_the_bare_address() -> None:
    state = publication()
    state.wanted = HERE
    run(state)
    state.wanted = SHY
    assert [e.eligible for e in run(state)[0].put_endpoints] == [False]


def test_a_parting_word_is_shown_before_the_source_goes() -> None:
    state = publication()
    state.wanted = HERE
    run(state)
    state.wanted, state.parting = None, BYE
    closed, dropped = run(state)
    assert [w.source.tuples for w in closed.put_sources] == [(BYE,)]
    assert dropped.drop_sources == ("xmpp:sofa",)
    assert dropped.farewell == LastSeen(9.0, (Text("bye"),))


def test_an_end_drops_all_of_ours_and_nothing_of_a_successor() -> None:
    state = publication()
    state.wanted = HERE
    run(state)
    state.wanted, state.ended = None, True
    (update,) = run(state)
    assert (update.drop_sources, update.drop_endpoints) == (("xmpp:sofa",), ("xmpp:sofa",))
    assert update.only_owner == "xmpp-1/i1"
    assert state.step(9.0) is None


def test_what_a_forgetful_bus_knew_is_said_again() -> None:
    state = publication()
    state.wanted = HERE
    run(state)
    state.forget()
    (update,) = run(state)
    assert (len(update.put_sources), len(update.put_endpoints)) == (1, 1)
