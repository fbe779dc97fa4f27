"""XEP-0124 and XEP-0206: one session, request by request."""

from __future__ import annotations

import hashlib
from math import inf
from xml.etree import ElementTree

import pytest

from xmpp.bosh import (
    Answer,
    BindingError,
    BoshEffect,
    BoshSession,
    Confirmed,
    Ended,
    Received,
    Terms,
    read_body,
)
from xmpp.effects import Opened
from xmpp.element import CLIENT_NS, E
from xmpp.stream import StanzaReceived, StreamClosed, StreamOpened

ALLOWED = Terms(wait=60, hold=2, inactivity=30, pause=120)
HEADER = Opened("stream1", "example.org", "")
FEATURES = b"<stream:features><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></stream:features>"
HELLO = b"<message><body>hi</body></message>"
RID = 1000


def body(**attrs: str) -> str:
    inner = attrs.pop("inner", "")
    said = "".join(f" {name.replace('_', ':')}='{value}'" for name, value in attrs.items())
    return (
        f"<body xmlns='http://jabber.org/protocol/httpbind' xmlns:xmpp='urn:xmpp:xbosh'{said}>{inner}</body>"
    )


def message(text: str) -> str:
    return f"<message xmlns='jabber:client'><body>{text}</body></message>"


class Client:
    """Sends requests named by their rid, which is their ticket as well, and keeps the answers."""

    def __init__(self, **attrs: str) -> None:
        self.now = 100.0
        self.answers: dict[object, list[bytes]] = {}
        self.events: list[object] = []
        self.statuses: dict[object, int] = {}
        asked = {"rid": str(RID), "to": "example.org", "ver": "1.6", "wait": "60", "hold": "1"} | attrs
        element = read_body(body(**asked).encode(), max_depth=64)
        self.session = BoshSession("sid1", element, RID, ALLOWED, self.now)

    def begun(self) -> Client:
        """With the first answer given."""
        self.session.opened(HEADER)
        self.do(self.session.send([FEATURES], self.now))
        return self

    def do(self, effects: list[BoshEffect]) -> list[BoshEffect]:
        for effect in effects:
            if isinstance(effect, Answer):
                self.answers.setdefault(effect.ticket, []).append(effect.data)
                self.statuses[effect.ticket] = effect.status
            elif isinstance(effect, Received):
                self.events += effect.events
            else:
                self.events.append(effect)
        return effects

    def ask(
        self, rid: int, inner: str = "", *, after: float = 5.0, ticket: object = None, **attrs: str
    ) -> None:
        self.now += after
        element = read_body(body(rid=str(rid), sid="sid1", inner=inner, **attrs).encode(), max_depth=64)
        self.do(self.session.receive(element, rid if ticket is None else ticket, self.now))

    def say(self, *payloads: bytes) -> None:
        self.do(self.session.send(payloads, self.now))

    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.do(self.session.handle_timeout(self.now))

    def answer(self, ticket: object) -> ElementTree.Element:
        """The only one of this request."""
        (data,) = self.answers[ticket]
        return ElementTree.fromstring(data)

    def texts(self, ticket: object) -> list[str]:
        return [found.text or "" for found in self.answer(ticket).iter("{jabber:client}body")]


# --- creation (XEP-0124 §7, XEP-0206 §3, §4) ----------------------------------------------------------


def test_the_first_request_opens_the_stream_and_its_answer_tells_the_terms_and_the_features() -> None:
    client = Client()
    assert client.session.first == StreamOpened("example.org", "", "1.0", "")
    assert client.answers == {}
    answer = client.begun().answer(RID)
    assert {name: answer.attrib[name] for name in sorted(answer.attrib)} == {
        "ack": "1000",
        "authid": "stream1",
        "from": "example.org",
        "hold": "1",
        "inactivity": "30",
        "maxpause": "120",
        "polling": "2",
        "requests": "2",
        "sid": "sid1",
        "ver": "1.6",
        "wait": "60",
        "{urn:xmpp:xbosh}restartlogic": "true",
        "{urn:xmpp:xbosh}version": "1.0",
    }
    assert [child.tag for child in answer] == ["{http://etherx.jabber.org/streams}features"]


def test_a_client_gets_no_more_than_is_allowed() -> None:
    answer = Client(wait="3600", hold="5", ver="2.0").begun().answer(RID)
    assert (answer.get("wait"), answer.get("hold"), answer.get("requests")) == ("60", "2", "3")
    assert answer.get("ver") == "1.11"


@pytest.mark.parametrize(
    "attrs", [{"rid": ""}, {"rid": "-1"}, {"rid": str(2**53)}, {"wait": "x"}, {"hold": "1.5"}]
)
def test_what_makes_no_session(attrs: dict[str, str]) -> None:
    with pytest.raises(BindingError, match="bad-request"):
        Client(**attrs)


@pytest.mark.parametrize(
    "data", [b"", b"<body/>", b"<a xmlns='http://jabber.org/protocol/httpbind'/>", b"<!DOCTYPE a><a/>"]
)
def test_what_is_no_request(data: bytes) -> None:
    with pytest.raises(BindingError, match="bad-request"):
        read_body(data, max_depth=8)


# --- taking turns (§8) --------------------------------------------------------------------------------


def test_a_request_is_held_until_there_is_something_to_say() -> None:
    client = Client().begun()
    client.ask(RID + 1)
    assert RID + 1 not in client.answers
    client.say(HELLO)
    assert client.answers[RID + 1] == [
        b"<body xmlns='http://jabber.org/protocol/httpbind'>"
        b"<message xmlns='jabber:client'><body>hi</body></message></body>"
    ]


def test_a_request_is_held_no_longer_than_agreed() -> None:
    client = Client(wait="20").begun()
    client.ask(RID + 1)
    assert client.session.next_deadline() == client.now + 20
    client.wait(19.9)
    assert RID + 1 not in client.answers
    client.wait(0.1)
    assert list(client.answer(RID + 1)) == []


def test_what_a_client_sends_releases_the_request_before_it() -> None:
    client = Client().begun()
    client.ask(RID + 1)
    client.ask(RID + 2, message("a") + message("b"), after=0.1)
    assert client.events[-2:] == [
        StanzaReceived(E("message", CLIENT_NS, {}, E("body", CLIENT_NS, {}, text))) for text in "ab"
    ]
    released = client.answer(RID + 1)
    assert (list(released), released.get("ack")) == ([], str(RID + 2))  # §9.1
    assert RID + 2 not in client.answers


def test_what_is_said_while_nobody_asks_goes_with_the_next_request() -> None:
    client = Client().begun()
    client.say(b"<presence/>", HELLO)
    client.ask(RID + 1)
    assert [child.tag for child in client.answer(RID + 1)] == [
        "{jabber:client}presence",
        "{jabber:client}message",
    ]


def test_requests_out_of_order_are_taken_in_order() -> None:
    """§14.2."""
    client = Client(hold="2").begun()
    client.ask(RID + 2, message("second"))
    assert client.events == []
    client.ask(RID + 1, message("first"), after=0.0)
    assert [
        event.element.elements[0].text for event in client.events if isinstance(event, StanzaReceived)
    ] == [
        "first",
        "second",
    ]
    client.say(HELLO)
    assert client.texts(RID + 1) == ["hi"]


def test_who_polls_is_answered_at_once() -> None:
    """§12."""
    client = Client(hold="0").begun()
    client.ask(RID + 1)
    assert list(client.answer(RID + 1)) == []
    client.say(HELLO)
    client.ask(RID + 2)
    assert client.texts(RID + 2) == ["hi"]


# --- broken connections (§14.3) -----------------------------------------------------------------------


def test_a_request_that_comes_again_gets_the_same_answer() -> None:
    client = Client().begun()
    client.ask(RID + 1, message("once"))
    client.say(HELLO)
    client.ask(RID + 1, message("once"), ticket="again")
    assert client.answers["again"] == client.answers[RID + 1]
    assert len(client.events) == 1


def test_a_held_request_that_comes_again_takes_its_place() -> None:
    client = Client().begun()
    client.ask(RID + 1)
    client.ask(RID + 1, ticket="again")
    assert client.answer(RID + 1).get("type") == "error"
    client.say(HELLO)
    assert client.texts("again") == ["hi"]


def test_a_request_is_not_repeated_for_ever() -> None:
    client = Client().begun()
    client.ask(RID + 1)
    client.say(HELLO)
    for time in range(11):
        client.ask(RID + 1, ticket=f"again {time}")
    assert client.answer("again 10").get("condition") == "policy-violation"
    assert client.events == [Ended("policy-violation")]


def test_what_is_lost_with_a_connection_is_said_when_the_client_asks_again() -> None:
    client = Client().begun()
    client.ask(RID + 1)
    client.do(client.session.disconnected(RID + 1, client.now))
    client.say(HELLO)
    client.ask(RID + 1, ticket="again")
    assert list(client.answer("again")) == []
    client.ask(RID + 2)
    assert client.texts(RID + 2) == ["hi"]


@pytest.mark.parametrize("rid", [RID - 1, RID + 3, 1, 2**53 - 1])
def test_a_number_out_of_the_window_ends_the_session(rid: int) -> None:
    """§14.2: the same error whether it is too small or too large."""
    client = Client().begun()
    client.ask(rid)
    assert client.answer(rid).attrib == {"type": "terminate", "condition": "item-not-found"}
    assert client.events == [Ended("lost")]
    assert client.session.over


def test_answers_are_kept_as_long_as_the_client_may_not_have_them() -> None:
    client = Client().begun()
    for number in range(1, 4):
        client.ask(RID + number)
        client.say(HELLO)
    assert client.session.pending() == 2 * len(client.answers[RID + 1][0])
    client.ask(RID + 1, ticket="too late")
    assert client.answer("too late").get("condition") == "item-not-found"


def test_requests_whose_predecessor_does_not_come_are_told_to_be_repeated() -> None:
    """§17.3."""
    client = Client(wait="20").begun()
    client.ask(RID + 2)
    client.wait(20)
    assert client.answer(RID + 2).get("type") == "error"


# --- acknowledgements (§9) ----------------------------------------------------------------------------


def test_without_a_word_the_number_of_the_next_request_tells_what_the_client_has() -> None:
    client = Client().begun()
    client.ask(RID + 1)
    client.say(HELLO)
    client.ask(RID + 2)  # may have been sent before the answer came
    assert client.events == []
    client.ask(RID + 3, message("x"))  # cannot have been
    assert client.events[0] == Confirmed()


def test_a_client_that_acknowledges_says_so_at_once() -> None:
    client = Client(ack="1").begun()
    client.ask(RID + 1)
    client.say(HELLO)
    assert client.events == [Confirmed()]  # of the features
    client.ask(RID + 2)
    assert client.events == [Confirmed(), Confirmed()]


def test_a_client_that_lacks_an_answer_hears_of_it() -> None:
    """§9.2."""
    client = Client(ack="1").begun()
    client.ask(RID + 1)
    client.say(HELLO)
    client.ask(RID + 2, ack=str(RID), after=3.0)
    told = client.answer(RID + 2)
    assert (told.get("report"), told.get("time")) == (str(RID + 1), "3000")
    assert client.events == [Confirmed()]  # of the features


def test_a_client_cannot_make_us_keep_everything_by_acknowledging_nothing() -> None:
    client = Client(ack="1").begun()
    for number in range(1, 50):
        client.ask(RID + number, ack=str(RID), after=0.1)
        client.say(HELLO)
    assert client.session.pending() <= 3 * len(client.answers[RID + 1][0])


# --- inactivity and pauses (§10) ------------------------------------------------------------------------


def test_without_a_request_the_session_is_lost() -> None:
    client = Client().begun()
    assert client.session.next_deadline() == client.now + 30
    client.wait(29)
    assert client.events == []
    client.wait(1)
    assert client.events == [Ended("lost")]
    assert client.session.next_deadline() == inf


def test_a_pause_answers_everything_and_gives_more_time() -> None:
    client = Client().begun()
    client.ask(RID + 1)
    client.ask(RID + 2, pause="120")
    assert [list(client.answer(rid)) for rid in (RID + 1, RID + 2)] == [[], []]
    client.say(HELLO)
    client.wait(119)
    client.ask(RID + 3, after=0.5)
    assert client.texts(RID + 3) == ["hi"]
    assert client.session.next_deadline() == client.now + 30


def test_a_pause_has_a_limit() -> None:
    client = Client().begun()
    client.ask(RID + 1, pause="121")
    assert client.answer(RID + 1).get("condition") == "policy-violation"


# --- who asks too much (§11, §12) -----------------------------------------------------------------------


def test_asking_again_and_again_is_against_the_rules() -> None:
    client = Client().begun()
    client.ask(RID + 1)
    client.ask(RID + 2, after=1.9)
    assert client.answer(RID + 2).attrib == {"type": "terminate", "condition": "policy-violation"}
    assert client.answer(RID + 1).get("type") == "terminate"
    assert client.events == [Ended("policy-violation")]


def test_asking_now_and_then_is_not() -> None:
    client = Client().begun()
    client.ask(RID + 1)
    client.ask(RID + 2, after=2.0)
    assert RID + 2 not in client.answers


def test_polling_too_often_is_against_the_rules() -> None:
    client = Client(wait="0").begun()
    client.ask(RID + 1)
    client.ask(RID + 2, after=1.0)
    assert client.answer(RID + 2).get("condition") == "policy-violation"


def test_polling_at_once_after_something_came_is_not() -> None:
    client = Client(wait="0").begun()
    client.say(HELLO)
    client.ask(RID + 1)
    client.ask(RID + 2, after=0.1)
    assert list(client.answer(RID + 2)) == []


def test_clients_that_told_no_version_get_statuses() -> None:
    """§17.1."""
    client = Client(ver="").begun()
    client.ask(RID + 9)
    assert (client.statuses[RID + 9], client.answers[RID + 9]) == (404, [b""])


# --- keys (§15) -------------------------------------------------------------------------------------------


def keys(seed: str, count: int) -> list[str]:
    made = [seed]
    for _ in range(count):
        made.append(hashlib.sha1(made[-1].encode()).hexdigest())
    return made


def test_each_request_proves_that_it_comes_from_who_sent_the_one_before() -> None:
    first, second = keys("seed", 3), keys("other", 2)
    client = Client(newkey=first[3].upper()).begun()
    client.ask(RID + 1, key=first[2])
    client.ask(RID + 2, key=first[1].upper(), newkey=second[2])
    client.ask(RID + 3, message("x"), key=second[1])
    assert len([event for event in client.events if isinstance(event, StanzaReceived)]) == 1


@pytest.mark.parametrize("key", ["", "0" * 40])
def test_a_wrong_key_ends_the_session_and_nothing_is_taken(key: str) -> None:
    client = Client(newkey=keys("seed", 2)[2]).begun()
    client.ask(RID + 1, message("stolen"), key=key)
    assert client.answer(RID + 1).get("condition") == "item-not-found"
    assert client.events == [Ended("lost")]


def test_a_key_that_can_be_none_fits_nothing() -> None:
    client = Client(newkey="ä" * 40).begun()
    client.ask(RID + 1, key="seed")
    assert client.answer(RID + 1).get("condition") == "item-not-found"


# --- streams (XEP-0206) and the end (§13) -----------------------------------------------------------------


def test_a_restart_opens_a_new_stream_and_brings_nothing_else() -> None:
    """XEP-0206 §5."""
    client = Client().begun()
    client.ask(RID + 1, message("ignored"), xmpp_restart="true", to="example.org")
    assert client.events == [StreamOpened("example.org", "", "1.0", "")]
    client.session.opened(HEADER)
    client.say(FEATURES)
    assert [child.tag for child in client.answer(RID + 1)] == ["{http://etherx.jabber.org/streams}features"]


def test_the_client_ends_with_last_words() -> None:
    client = Client().begun()
    client.ask(RID + 1)
    client.ask(RID + 2, "<presence xmlns='jabber:client' type='unavailable'/>", type="terminate")
    assert client.events == [
        StanzaReceived(E("presence", CLIENT_NS, {"type": "unavailable"})),
        StreamClosed(),
    ]
    client.do(client.session.finish([], None, client.now))
    assert [client.answer(rid).get("type") for rid in (RID + 1, RID + 2)] in (
        [None, "terminate"],
        ["terminate", None],
    )
    assert client.session.over


def test_the_server_ends_with_what_was_left_and_an_error() -> None:
    """XEP-0206 §7."""
    client = Client().begun()
    client.ask(RID + 1)
    failed = b"<stream:error><conflict xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>"
    client.do(client.session.finish([HELLO], failed, client.now))
    answer = client.answer(RID + 1)
    assert answer.attrib == {"type": "terminate", "condition": "remote-stream-error"}
    assert [child.tag for child in answer] == [
        "{jabber:client}message",
        "{http://etherx.jabber.org/streams}error",
    ]


def test_who_asks_after_the_end_hears_of_it() -> None:
    client = Client().begun()
    client.do(client.session.finish([], None, client.now))
    assert not client.session.over
    client.ask(RID + 1)
    assert client.answer(RID + 1).get("type") == "terminate"
    assert client.session.over


def test_a_stream_that_is_refused_at_once_ends_the_session_it_would_have_had() -> None:
    client = Client(to="elsewhere.example")
    client.session.opened(HEADER)
    failed = b"<stream:error><host-unknown xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>"
    client.do(client.session.finish([], failed, client.now))
    answer = client.answer(RID)
    assert (answer.get("type"), answer.get("sid")) == ("terminate", "sid1")


def test_one_request_more_may_come_to_end_the_session() -> None:
    """§11."""
    client = Client().begun()
    client.ask(RID + 3, type="terminate")
    assert client.answers.get(RID + 3) is None
    client.ask(RID + 2)
    client.ask(RID + 1)
    assert client.events[-1] == StreamClosed()
