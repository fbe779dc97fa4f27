"""When NOTIFYs go (RFC 6665 §4.2.2, RFC 3856 §6.10).

One is outstanding per dialog; changes meanwhile, or within the throttle's interval, are gathered, and the
last state is always delivered. What the phone has acknowledged already is not said again.

What becomes of a NOTIFY that was not accepted:

- an answer that says there is no such subscription ends it at once (`GONE`);
- silence, or another refusal: the whole state is sent again, after a pause that doubles or as long as
  Retry-After says, until one is accepted or `notify_patience` is over; then it ends. RFC 6665 would have it
  end with the first silence: a lamp would be dead for an hour because a phone slept for half a minute;
- a broken connection: it is silent until the phone is back on another, or it expires.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import structlog

from presence.model import PresenceDocument
from presence.ports import Metrics
from sip.dialogs import Dialogs
from sip.notification import Notifications
from sip.runtime import Answer, Runtime, Sender, Silence
from sip.settings import SipSettings
from sip.subscription import Subscription

log = structlog.get_logger()

GONE = frozenset((404, 405, 410, 416, 480, 481, 482, 483, 484, 485, 489, 501, 604))
"Answers to a NOTIFY that end the subscription (RFC 6665 §4.2.2)."
_RETRY = 2.0
"Seconds to wait while too many of our requests are in flight."
_FIRST_PAUSE = 5.0
"Seconds until a NOTIFY that was not accepted is tried again; doubled each time."


class Pacing:
    def __init__(
        self,
        settings: SipSettings,
        runtime: Runtime,
        sender: Sender,
        metrics: Metrics,
        dialogs: Dialogs,
        notifications: Notifications,
        *,
        document_of: Callable[[Subscription], PresenceDocument | None],
        forget: Callable[[Subscription], object],
        save: Callable[[Subscription], object],
    ) -> None:
        """`document_of`: what the watcher may see. `forget` takes a subscription out of all tables, and its
        record off the bus; `save` writes that."""
        self._interval = settings.notify_interval
        self._patience = settings.notify_patience
        self._runtime = runtime
        self._sender = sender
        self._metrics = metrics
        self._dialogs = dialogs
        self._notifications = notifications
        self._document_of = document_of
        self._forget = forget
        self._save = save

    def start(self, subscription: Subscription) -> None:
        """The 2xx is on the wire."""
        subscription.begun = True
        self.urge(subscription)

    def heard(self, subscription: Subscription) -> None:
        """One that was taken up or over is there again, with what it is about: what was to be said meanwhile
        may be said."""
        subscription.begun = True
        if subscription.due:
            self.push(subscription)

    def urge(self, subscription: Subscription) -> None:
        """There is something to say that may not wait for its turn."""
        subscription.urgent = True
        self.push(subscription)

    def push(self, subscription: Subscription) -> None:
        """There is something to say; now, or as soon as it may be said."""
        subscription.due = True
        if subscription.outstanding or not subscription.begun:
            return
        wait = subscription.next_at - self._runtime.now()
        if subscription.urgent or wait <= 0:
            self._notify(subscription)
        elif subscription.throttle is None:
            self.later(subscription, wait)

    def later(self, subscription: Subscription, delay: float) -> None:
        """What is due is said then."""
        subscription.due = True
        subscription.throttle = self._runtime.call_later(delay, partial(self._turn, subscription))

    def _turn(self, subscription: Subscription) -> None:
        subscription.throttle = None
        if subscription.due:
            self.push(subscription)

    def _notify(self, subscription: Subscription) -> None:
        if subscription not in self._dialogs:
            return
        flow = subscription.flow
        if flow is None or not self._sender.alive(flow):
            self._dialogs.pin(subscription, None)
            if subscription.ending:
                self._forget(subscription)
            return
        document = self._document_of(subscription)
        if self._known(subscription, document):
            subscription.due = False
            return
        if subscription.reserve():
            self._save(subscription)
        subscription.due = subscription.urgent = False
        tag = self._notifications.tag(subscription, document)
        state = subscription.ending or subscription.state
        request, way = self._notifications.write(subscription, document, flow)
        subscription.outstanding = True
        subscription.next_at = self._runtime.now() + self._interval
        if subscription.throttle is not None:
            subscription.throttle.cancel()
            subscription.throttle = None
        self._metrics.count("sip_notifications_total")
        self._sender.send(request, way, partial(self._answered, subscription, state, tag))
        if subscription.ending:
            self._forget(subscription)

    def _known(self, subscription: Subscription, document: PresenceDocument | None) -> bool:
        """The watcher knows already, or does not want to know (RFC 5839 §6.3)."""
        feed = subscription.feed if subscription.active else None
        told = subscription.told == (subscription.ending or subscription.state)
        if subscription.condition:
            if self._notifications.matches(subscription, document):
                return told and not subscription.urgent
            subscription.condition = ""
            if feed is not None:
                feed.restart()
        if subscription.urgent:
            return False
        if feed is not None:
            return not feed.more
        return told and subscription.shown == self._notifications.tag(subscription, document)

    def _answered(self, subscription: Subscription, state: str, tag: str, answer: Answer) -> None:
        subscription.outstanding = False
        if subscription not in self._dialogs:
            return
        if 200 <= answer.status < 300:
            subscription.told, subscription.shown = state, tag
            subscription.failures = 0
            if subscription.due:
                self.push(subscription)
            return
        # It did not arrive, or was not understood: all of it goes out again.
        subscription.shown = ""
        subscription.due = True
        if subscription.feed is not None:
            subscription.feed.restart()
        if answer.status in GONE:
            self._lost(subscription, str(answer.status))
        elif answer.silence is Silence.BROKEN:
            if subscription.flow is not None and not self._sender.alive(subscription.flow):
                self._dialogs.pin(subscription, None)
            elif subscription.flow is not None:
                self.push(subscription)
        elif answer.silence is Silence.BUSY:
            self._again(subscription, _RETRY)
        else:
            self._failed(subscription, answer)

    def _failed(self, subscription: Subscription, answer: Answer) -> None:
        """Silence, or an answer that may be different next time."""
        now = self._runtime.now()
        if not subscription.failures:
            subscription.failing_since = now
        pause = _FIRST_PAUSE * 2**subscription.failures
        subscription.failures += 1
        self._metrics.count("sip_notifications_failed_total")
        asked = answer.response.retry_after if answer.response is not None else None
        if asked is not None:
            # Who says when may take longer than who says nothing.
            pause, over = float(asked), subscription.expires
        else:
            over = subscription.failing_since + self._patience
        if now + pause > over:
            self._lost(subscription, answer.silence.value if answer.silence else str(answer.status))
        else:
            self._again(subscription, pause)

    def _again(self, subscription: Subscription, pause: float) -> None:
        subscription.next_at = self._runtime.now() + pause
        self.push(subscription)

    def _lost(self, subscription: Subscription, reason: str) -> None:
        log.info(
            "subscription_lost",
            watcher=str(subscription.watcher),
            presentity=str(subscription.presentity),
            reason=reason,
        )
        self._metrics.count("sip_subscriptions_lost_total")
        self._forget(subscription)
