"""When NOTIFYs go (RFC 6665 §4.2.2, RFC 3856 §6.10).

One is outstanding per dialog; changes meanwhile, or within the throttle's interval, are gathered, and the
last state is always delivered. A phone that does not answer loses its subscription; one whose connection
broke keeps it, silent, until it is back on another or the subscription expires.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import structlog

from presence.address import Address
from presence.model import PresenceDocument
from presence.ports import Metrics
from presence.service import PresenceService
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


class Pacing:
    def __init__(
        self,
        settings: SipSettings,
        service: PresenceService,
        runtime: Runtime,
        sender: Sender,
        metrics: Metrics,
        dialogs: Dialogs,
        notifications: Notifications,
        *,
        document_of: Callable[[Address], PresenceDocument | None],
        forget: Callable[[Subscription], None],
    ) -> None:
        """`forget` takes a subscription out of all tables, and its record off the bus."""
        self._interval = settings.notify_interval
        self._service = service
        self._runtime = runtime
        self._sender = sender
        self._metrics = metrics
        self._dialogs = dialogs
        self._notifications = notifications
        self._document_of = document_of
        self._forget = forget

    def start(self, subscription: Subscription) -> None:
        """The 2xx is on the wire."""
        subscription.begun = True
        self.urge(subscription)

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
        feed = subscription.feed
        if feed is not None and subscription.active and not subscription.urgent and not feed.more:
            subscription.due = False
            return
        if subscription.reserve():
            self.save(subscription)
        subscription.due = subscription.urgent = False
        # What the watcher may see: nothing while pending, nothing once rejected.
        document = self._document_of(subscription.presentity) if subscription.active else None
        request, way = self._notifications.write(subscription, document, flow)
        subscription.outstanding = True
        subscription.next_at = self._runtime.now() + self._interval
        if subscription.throttle is not None:
            subscription.throttle.cancel()
            subscription.throttle = None
        self._metrics.count("sip_notifications_total")
        self._sender.send(request, way, partial(self._answered, subscription))
        if subscription.ending:
            self._forget(subscription)

    def _answered(self, subscription: Subscription, answer: Answer) -> None:
        subscription.outstanding = False
        if subscription not in self._dialogs:
            return
        if answer.status in GONE or answer.silence is Silence.TIMEOUT:
            log.info(
                "subscription_lost",
                watcher=str(subscription.watcher),
                presentity=str(subscription.presentity),
                reason=answer.silence.value if answer.silence else answer.status,
            )
            self._metrics.count("sip_subscriptions_lost_total")
            self._forget(subscription)
            return
        if subscription.feed is not None and not 200 <= answer.status < 300:
            subscription.feed.restart()
        if answer.silence is Silence.BROKEN:
            # It did not arrive; the state goes out again when there is a way.
            subscription.due = True
            if subscription.flow is not None and not self._sender.alive(subscription.flow):
                self._dialogs.pin(subscription, None)
            elif subscription.flow is not None:
                self.push(subscription)
        elif answer.silence is Silence.BUSY:
            subscription.due = True
            subscription.next_at = self._runtime.now() + _RETRY
            self.push(subscription)
        elif subscription.due:
            self.push(subscription)

    def save(self, subscription: Subscription) -> None:
        self._runtime.spawn(self._service.put_records(subscription.record()))
