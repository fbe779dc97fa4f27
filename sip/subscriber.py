"""One subscription of ours to somebody else's event state (RFC 6665 §4.1): a state machine.

`next_at` says when it wants to send something; `request` is that SUBSCRIBE, `answered` takes what came of
it, and `notified` a NOTIFY that belongs to it. It begins anew by itself whenever the other side lost it, and
waits longer and longer for a side that refuses.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from presence.address import Address
from sip import digest
from sip.addressing import to_uri
from sip.dialog import Dialog
from sip.errors import BadHeader, ProtocolError
from sip.message import Headers, Request, Response, new_call_id, new_tag
from sip.runtime import Answer
from sip.uri import parse_uri

_T1 = 0.5
_TIMER_N = 64 * _T1
"Seconds in which the first NOTIFY has to come (RFC 6665 §4.1.2.4)."
_FIRST_PAUSE = 5.0
_LONGEST_PAUSE = 600.0
_REFUSED = 600.0
"Seconds until somebody who said no is asked again."
_EARLY = 0.75
"Part of its time after which a subscription is refreshed."
_NO = frozenset((403, 404, 405, 410, 416, 420, 489, 501, 603, 604))
"What asking again soon will not change."
_LEAST = 10
"Seconds below which nobody makes us refresh, or begin anew a second time."
_LONGEST_WAIT = 3600
"Seconds for which we stay away when asked to."
_LONGEST = 7200
"Seconds a subscription lasts at most, however short the other side finds that."


@dataclass(frozen=True, slots=True, kw_only=True)
class Topic:
    """What is subscribed to, where, and as whom."""

    server: str
    "URI that requests are sent to."
    resource: Address
    event: str
    accept: str
    watcher: Address
    user: str = ""
    "Name for the digest; empty: there is none."
    password: str = ""
    expires: int = 3600

    def __repr__(self) -> str:
        return f"Topic({self.event} of {self.resource} at {self.server})"


class Subscriber:
    """`now` is monotonic with the caller's clock, in seconds."""

    def __init__(self, topic: Topic, now: float, new_call_id: Callable[[], str] = new_call_id) -> None:
        self.topic = topic
        self._new_call_id = new_call_id
        self.next_at = now
        "When `request` is due."
        self.until = 0.0
        "When the subscription ends, if nothing is done; 0 without one."
        self.outstanding = False
        self._lost = False
        "Something was lost: all of it is to be asked for."
        self._failures = 0
        self._expires = topic.expires
        self._authorization: tuple[str, str] | None = None
        self._tried_credentials = False
        self._restarted = -float(_LEAST)
        self._begin()

    def _begin(self) -> None:
        self.call_id = self._new_call_id()
        self.local_tag = new_tag()
        self.dialog: Dialog | None = None
        self._cseq = 0
        self._heard = False
        self.until = 0.0

    # --- SUBSCRIBE ------------------------------------------------------------------------------

    def request(self, contact: str, now: float, *, end: bool = False) -> Request:
        """The next SUBSCRIBE, without Via; `contact`: where NOTIFYs are to go. `end` ends it."""
        topic = self.topic
        lapsed = self.dialog is not None and (self.until <= now or not self._heard)
        if lapsed and not end and self._authorization is None:
            self._begin()
        fields = [
            ("Contact", f"<{contact}>"),
            ("Event", topic.event),
            ("Accept", topic.accept),
            ("Expires", "0" if end else str(self._expires)),
        ]
        self.outstanding = True
        self._lost = False
        if self.dialog is not None:
            if self._authorization is not None:
                fields.append(self._authorization)
            self.dialog, request = self.dialog.request("SUBSCRIBE", fields)
            return request
        self._cseq += 1
        uri = to_uri(topic.resource)
        lines = {
            "Max-Forwards": ["70"],
            "From": [f"<{to_uri(topic.watcher)}>;tag={self.local_tag}"],
            "To": [f"<{uri}>"],
            "Call-ID": [self.call_id],
            "CSeq": [f"{self._cseq} SUBSCRIBE"],
        }
        headers = Headers.adopt(lines)
        for name, value in fields:
            headers.add(name, value)
        if self._authorization is not None:
            headers.add(*self._authorization)
        return Request("SUBSCRIBE", parse_uri(uri), headers, b"")

    def answered(self, request: Request, answer: Answer, now: float) -> str:
        """What came of it. Returns why it failed, for the log; empty when it did not, or when that is no news
        and it goes on at once."""
        self.outstanding = False
        response = answer.response
        self._authorization = None
        if response is None:
            return self._pause(now, answer.silence.value if answer.silence else "silence")
        status = response.status
        if 200 <= status < 300:
            return self._accepted(request, response, now)
        if status in (401, 407) and not self._tried_credentials:
            return self._authenticate(request, response, now)
        if status == 423 and self._expires < (least := _seconds(response, "Min-Expires")) <= _LONGEST:
            self._expires = least
            self._restart(now)
            return ""
        if status == 481 and self.dialog is not None:
            # §4.1.2.2: it is gone over there.
            self._begin()
            self._restart(now)
            return ""
        if status in _NO or status in (401, 407):
            self._begin()
            self._tried_credentials = False
            self.next_at = now + max(_REFUSED, _wait(response.retry_after))
            return f"{status} {response.reason}"
        return self._pause(now, f"{status} {response.reason}", response.retry_after)

    def _restart(self, now: float) -> None:
        """At once; but not over and over, whatever the other side says."""
        self.next_at = max(now, self._restarted + _LEAST)
        self._restarted = self.next_at

    def _accepted(self, request: Request, response: Response, now: float) -> str:
        self._failures = 0
        self._tried_credentials = False
        try:
            if self.dialog is None:
                dialog = Dialog.from_response_uac(request, response)
                self.dialog = dialog
            else:
                self.dialog = self.dialog.answered(response)
        except BadHeader as error:
            return self._pause(now, str(error))
        self._lasts(_seconds(response, "Expires") or self._expires, now)
        if not self._heard:
            # Timer N: without a NOTIFY there is no subscription.
            self.next_at = min(self.next_at, now + _TIMER_N)
        return ""

    def _lasts(self, expires: int, now: float) -> None:
        """No longer than was asked for: what is said is believed until then."""
        expires = min(expires, self._expires)
        self.until = now + expires
        self.next_at = now if self._lost else now + max(_LEAST, expires * _EARLY)

    def _authenticate(self, request: Request, response: Response, now: float) -> str:
        ours = ("WWW-Authenticate", "Authorization")
        theirs = ("Proxy-Authenticate", "Proxy-Authorization")
        asked, given = ours if response.status == 401 else theirs
        challenge = digest.select(response.headers.fields(asked))
        if challenge is None or not self.topic.user:
            self._begin()
            self.next_at = now + _REFUSED
            return f"{response.status} without credentials"
        self._tried_credentials = True
        value = digest.answer(
            challenge, self.topic.user, "SUBSCRIBE", str(request.uri), password=self.topic.password
        )
        self._authorization = (given, value)
        self.next_at = now
        return ""

    def _pause(self, now: float, reason: str, asked: int | None = None) -> str:
        pause = min(_FIRST_PAUSE * 2**self._failures, _LONGEST_PAUSE)
        self._failures = min(self._failures + 1, 10)
        self.next_at = now + (_wait(asked) if asked is not None else pause)
        if self.until <= self.next_at:
            self._begin()
        return reason

    # --- NOTIFY ---------------------------------------------------------------------------------

    def notified(self, request: Request, now: float) -> bool:
        """Take a NOTIFY with our Call-ID and tag. True: it says something of the state, for its body counts.
        Raises `ProtocolError`: what to answer instead of 200."""
        event = request.event
        if event is None or event.package != self.topic.event:
            raise ProtocolError(489)
        state = request.subscription_state
        if state is None:
            raise ProtocolError(400, "No Subscription-State")
        if self.dialog is None:
            # It may overtake the 2xx (§4.1.2.4).
            dialog = Dialog.from_request_uas(request, self.local_tag)
            self.dialog = msgspec.structs.replace(dialog, local_cseq=self._cseq, remote_cseq=0)
        if request.from_.tag != self.dialog.remote_tag:
            # Of a fork, one dialog is enough (RFC 3680 §4.9, RFC 4235 §3.9).
            raise ProtocolError(481)
        self.dialog = self.dialog.received(request)
        self._heard = True
        if state.value == "terminated":
            self._terminated(state.reason, state.retry_after, now)
            return bool(request.body)
        if state.expires is not None:
            self._lasts(state.expires, now)
        elif self.until <= now:
            self._lasts(self._expires, now)
        return state.value == "active"

    def _terminated(self, reason: str, retry_after: int | None, now: float) -> None:
        """§4.1.3."""
        self._begin()
        if reason in ("deactivated", "timeout"):
            self._restart(now)
        elif reason in ("rejected", "noresource", "invariant"):
            self.next_at = now + _REFUSED
        else:
            self.next_at = now + (_wait(retry_after) if retry_after is not None else _FIRST_PAUSE)

    def refresh(self, now: float) -> None:
        """Something was lost: ask for all of it (RFC 3680 §5.2, RFC 4235 §4.3)."""
        self._lost = True
        self.next_at = min(self.next_at, now)


def _wait(asked: int | None) -> int:
    return min(asked or 0, _LONGEST_WAIT)


def _seconds(response: Response, name: str) -> int:
    value = (response.headers.get(name) or "").strip()
    return min(int(value), 10**9) if value.isascii() and value.isdigit() and len(value) < 12 else 0
