"""What a NOTIFY says, and the way it goes (RFC 6665 §4.2.2)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

import structlog

from presence.address import Address
from presence.model import PresenceDocument
from presence.ports import Metrics
from sip import eventlist
from sip.dialog import Dialog
from sip.fitting import datagram_size, smaller
from sip.flow import Flow
from sip.message import Request
from sip.packages import Body, Feed
from sip.runtime import Runtime, Sender
from sip.settings import SipSettings
from sip.subscription import Subscription

log = structlog.get_logger()

_CONTENT_FIELDS = 120
"Bytes of the fields that come with a body."
_BODIES = 2_000
"Rendered documents kept for the next watcher."


class Notifications:
    """Writes them. What is too long for a packet takes a connection of the same phone, or says less
    (`sip.fitting`)."""

    def __init__(
        self,
        settings: SipSettings,
        runtime: Runtime,
        sender: Sender,
        metrics: Metrics,
        stream_of: Callable[[Address, Flow], Flow | None],
    ) -> None:
        """`stream_of`: a connection that leads to the same phone of an account as a UDP flow."""
        self._settings = settings
        self._runtime = runtime
        self._sender = sender
        self._metrics = metrics
        self._stream_of = stream_of
        self._bodies: OrderedDict[tuple[Address, str], tuple[PresenceDocument, Body]] = OrderedDict()

    def write(
        self, subscription: Subscription, document: PresenceDocument | None, flow: Flow
    ) -> tuple[Request, Flow]:
        """The next NOTIFY in its dialog. `document`: what the watcher may see; None: nothing."""
        feed = subscription.feed if subscription.active else None
        if feed is not None:
            return self._fed(subscription, feed, flow)
        version = subscription.dialog.local_cseq
        body = self._rendered(subscription, document, version) if document is not None else None
        dialog, request = self._request(subscription, body, flow)
        most = self._settings.max_datagram
        if not flow.reliable and (size := datagram_size(request)) > most:
            stream = self.stream(subscription.watcher, flow)
            if stream is not None:
                flow = stream
            else:
                self._metrics.count("sip_notifications_cut_total")
                body = self._cut(subscription, document, version, most - size + len(request.body))
            dialog, request = self._request(subscription, body, flow)
        subscription.dialog = dialog
        return request, flow

    def stream(self, watcher: Address, flow: Flow) -> Flow | None:
        """A living connection of the phone on a UDP flow."""
        stream = self._stream_of(watcher, flow)
        return stream if stream is not None and self._sender.alive(stream) else None

    def _fed(self, subscription: Subscription, feed: Feed, flow: Flow) -> tuple[Request, Flow]:
        """Feeds divide what they have to say; the rest follows behind the answer."""
        room = None
        if not flow.reliable:
            stream = self.stream(subscription.watcher, flow)
            if stream is not None:
                flow = stream
            else:
                _, bare = self._request(subscription, None, flow)
                room = self._settings.max_datagram - datagram_size(bare) - _CONTENT_FIELDS
        body = feed.body(subscription.dialog.local_cseq, room)
        subscription.due = feed.more
        subscription.dialog, request = self._request(subscription, body, flow)
        return request, flow

    def _request(self, subscription: Subscription, body: Body | None, flow: Flow) -> tuple[Dialog, Request]:
        if subscription.ending:
            state = f"terminated;reason={subscription.ending}"
        else:
            left = max(0, round(subscription.expires - self._runtime.now()))
            state = f"{subscription.state};expires={left}"
        headers = [("Event", subscription.event), ("Subscription-State", state)]
        headers.append(("Contact", f"<{self._sender.contact(flow)}>"))
        if subscription.listed:
            headers.append(("Require", eventlist.OPTION))
        if body is not None:
            headers += [("Content-Type", body.content_type), *body.headers]
        return subscription.dialog.request("NOTIFY", headers, body.data if body is not None else b"")

    def _rendered(self, subscription: Subscription, document: PresenceDocument, version: int) -> Body:
        package = subscription.package
        if package.versioned:
            return package.render(document, version)
        key = (subscription.presentity, package.name)
        known = self._bodies.get(key)
        if known is not None and known[0] is document:
            return known[1]
        body = package.render(document, version)
        self._bodies[key] = (document, body)
        if len(self._bodies) > _BODIES:
            self._bodies.popitem(last=False)
        return body

    def _cut(
        self, subscription: Subscription, document: PresenceDocument | None, version: int, room: int
    ) -> Body | None:
        """The most that fits; a NOTIFY without a body where nothing does."""
        if document is not None:
            for less in smaller(document):
                body = subscription.package.render(less, version)
                if len(body.data) <= room:
                    return body
        log.warning(
            "notification_without_body",
            watcher=str(subscription.watcher),
            presentity=str(subscription.presentity),
        )
        return None
