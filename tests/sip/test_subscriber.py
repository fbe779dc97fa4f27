"""A subscription of ours (RFC 6665 §4.1), step by step."""

from __future__ import annotations

from typing import Any

import pytest

from presence.address import Address
from sip import digest
from sip.errors import ProtocolError
from sip.headers import Challenge
from sip.message import Headers, Request, respond
from sip.runtime import Answer, Silence
from sip.subscriber import Subscriber, Topic
from sip.uri import parse_uri

BOB = Address("bob", "example.org")
TOPIC = Topic(
    server="sip:192.0.2.5", resource=BOB, event="reg", accept="application/reginfo+xml",
    watcher=Address("tandem", "example.org"), user="tandem", password="secret",
)  # fmt: skip
US = "sip:192.0.2.1:5060"


class Story:
    """Both sides of it, at times the test chooses."""

    def __init__(self, topic: Topic = TOPIC) -> None:
        self.us = Subscriber(topic, 0.0)
        self.sent: list[Request] = []
        self._number = 0

    def subscribe(self, now: float = 0.0) -> Request:
        request = self.us.request(US, now)
        request.headers.put_first("Via", "SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1")
        self.sent.append(request)
        return request

    def hear(self, status: int, now: float = 0.0, **fields: str) -> str:
        headers = [(name.replace("_", "-"), value) for name, value in fields.items()]
        if 200 <= status < 300:
            headers.append(("Contact", "<sip:192.0.2.5:5070>"))
        response = respond(self.sent[-1], status, to_tag="theirs", headers=headers)
        return self.us.answered(self.sent[-1], Answer(response), now)

    def accept(self, now: float = 0.0, expires: int = 3600) -> None:
        self.subscribe(now)
        assert self.hear(200, now, Expires=str(expires)) == ""

    def notify(self, state: str = "active;expires=3600", now: float = 0.0, **fields: str) -> bool:
        self._number += 1
        tag = fields.get("tag", "theirs")
        headers = Headers(
            [
                ("Via", "SIP/2.0/UDP 192.0.2.5;branch=z9hG4bK2"),
                ("From", f"<sip:{BOB}>;tag={tag}"),
                ("To", f"<sip:tandem@example.org>;tag={self.us.local_tag}"),
                ("Call-ID", self.us.call_id),
                ("CSeq", f"{fields.get('cseq', self._number)} NOTIFY"),
                ("Contact", "<sip:192.0.2.5:5070>"),
                ("Event", fields.get("event", "reg")),
                ("Subscription-State", state),
            ]
        )
        return self.us.notified(Request("NOTIFY", parse_uri(US), headers, b"x"), now)


def test_it_asks_for_the_state_of_somebody_and_refreshes_in_its_dialog_before_it_ends() -> None:
    story = Story()
    first = story.subscribe()
    assert (str(first.uri), first.headers.get("Event"), first.headers.get("Expires")) == (
        "sip:bob@example.org", "reg", "3600",
    )  # fmt: skip
    story.hear(200, 0.0, Expires="1000")
    assert story.notify("active;expires=1000", 1.0)
    assert story.us.until == 1001
    assert story.us.next_at == 751
    again = story.subscribe(751.0)
    assert str(again.uri) == "sip:192.0.2.5:5070"
    assert (again.to.tag, again.call_id) == ("theirs", first.call_id)
    assert again.cseq.number == first.cseq.number + 1


def test_a_challenge_is_answered_once() -> None:
    story = Story()
    story.subscribe()
    challenge = 'Digest realm="example.org", nonce="n", algorithm=MD5, qop="auth"'
    assert story.hear(401, WWW_Authenticate=challenge) == ""
    assert story.us.next_at == 0.0
    authorized = story.subscribe()
    assert "Digest" in (authorized.headers.get("Authorization") or "")
    assert digest.select([challenge]) == Challenge.parse(challenge)
    assert story.hear(401, 5.0, WWW_Authenticate=challenge).startswith("401")
    assert story.us.next_at == 605.0


def test_without_credentials_a_challenge_is_a_no() -> None:
    story = Story(Topic(
        server="s", resource=BOB, event="reg", accept="x", watcher=BOB,
    ))  # fmt: skip
    story.subscribe()
    assert "without credentials" in story.hear(407, Proxy_Authenticate='Digest realm="r", nonce="n"')
    assert story.us.next_at == 600.0


def test_too_brief_an_interval_is_made_longer() -> None:
    story = Story()
    story.subscribe()
    story.hear(423, Min_Expires="7200")
    assert story.subscribe().headers.get("Expires") == "7200"


def test_what_the_other_side_lost_is_begun_anew_at_once() -> None:
    story = Story()
    story.accept()
    story.notify()
    story.subscribe(100.0)
    assert story.hear(481, 100.0) == ""
    assert story.us.next_at == 100.0
    fresh = story.subscribe(100.0)
    assert fresh.to.tag == ""
    assert fresh.call_id != story.sent[0].call_id


@pytest.mark.parametrize(("status", "after"), [(403, 600), (489, 600), (503, 5), (500, 5), (408, 5)])
def test_a_refusal_is_asked_again_later(status: int, after: float) -> None:
    story = Story()
    story.subscribe()
    assert story.hear(status, 10.0).startswith(str(status))
    assert story.us.next_at == 10 + after


def test_retry_after_is_respected_and_silence_waits_ever_longer() -> None:
    story = Story()
    story.subscribe()
    story.hear(503, 0.0, Retry_After="99")
    assert story.us.next_at == 99
    pauses = []
    for _ in range(4):
        request = story.subscribe(1000.0)
        assert story.us.answered(request, Answer(None, Silence.TIMEOUT), 1000.0) == "timeout"
        pauses.append(story.us.next_at - 1000)
    assert pauses == [10, 20, 40, 80]


def test_a_failed_refresh_leaves_the_subscription_for_as_long_as_it_lasts() -> None:
    story = Story()
    story.accept(expires=1000)
    story.notify("active;expires=1000")
    request = story.subscribe(750.0)
    story.us.answered(request, Answer(None, Silence.TIMEOUT), 782.0)
    assert story.us.dialog is not None
    assert story.subscribe(787.0).to.tag == "theirs"
    assert story.subscribe(1001.0).to.tag == ""


def test_a_subscription_that_is_never_notified_is_none() -> None:
    story = Story()
    story.accept()
    assert story.us.next_at == 32
    assert story.subscribe(32.0).to.tag == ""


def test_a_notify_may_come_before_the_answer() -> None:
    story = Story()
    story.subscribe()
    assert story.notify()
    story.hear(200, Expires="3600")
    assert story.us.next_at == 2700
    assert story.subscribe(2700.0).to.tag == "theirs"


@pytest.mark.parametrize(
    ("state", "at"),
    [
        ("terminated;reason=deactivated", 10),
        ("terminated;reason=timeout", 10),
        ("terminated;reason=probation;retry-after=77", 87),
        ("terminated;reason=giveup", 15),
        ("terminated", 15),
        ("terminated;reason=rejected", 610),
        ("terminated;reason=noresource", 610),
    ],
)
def test_after_its_end_it_is_asked_again_when_the_reason_says(state: str, at: float) -> None:
    story = Story()
    story.accept()
    story.notify()
    story.notify(state, 10.0)
    assert story.us.next_at == at
    assert story.subscribe(at).to.tag == ""


def test_a_pending_one_says_nothing_of_the_state() -> None:
    story = Story()
    story.accept()
    assert not story.notify("pending;expires=100")


@pytest.mark.parametrize(
    ("fields", "status"),
    [({"event": "presence"}, 489), ({"tag": "fork"}, 481), ({"cseq": "1"}, 500)],
)
def test_what_is_not_for_it_is_refused(fields: dict[str, Any], status: int) -> None:
    story = Story()
    story.accept()
    story.notify(cseq="7")
    with pytest.raises(ProtocolError) as refusal:
        story.notify(**fields)
    assert refusal.value.status == status


def test_what_was_lost_is_asked_for() -> None:
    story = Story()
    story.accept()
    story.notify()
    story.us.refresh(50.0)
    assert story.us.next_at == 50


def test_a_topic_shows_nobody_its_password() -> None:
    assert "secret" not in repr(TOPIC)


def test_nobody_is_believed_longer_than_was_asked_for_nor_keeps_us_away_for_good() -> None:
    story = Story()
    story.accept(0.0, expires=2**31)
    assert (story.us.until, story.us.next_at) == (3600, 32)
    story.notify("active;expires=4294967295", 1.0)
    assert (story.us.until, story.us.next_at) == (3601, 2701)
    story.notify("terminated;reason=probation;retry-after=4294967295", 2.0)
    assert story.us.next_at == 3602
    for status in (403, 503):
        story = Story()
        story.subscribe()
        assert story.hear(status, 1.0, Retry_After="999999999")
        assert story.us.next_at == 3601


def test_a_longer_time_is_asked_for_within_reason() -> None:
    story = Story()
    story.subscribe()
    assert story.hear(423, 1.0, Min_Expires="7200") == ""
    assert story.subscribe(1.0).headers.get("Expires") == "7200"
    assert story.hear(423, 2.0, Min_Expires="7201")
    assert story.us.next_at > 2.0


def test_who_ends_it_over_and_over_is_asked_at_a_pace() -> None:
    story = Story()
    asked = []
    now = 0.0
    for _ in range(5):
        story.accept(now)
        story.notify("terminated;reason=deactivated", now)
        now = story.us.next_at
        asked.append(now)
    assert asked == [0, 10, 20, 30, 40]
