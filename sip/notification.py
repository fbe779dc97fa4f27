"""What a NOTIFY says, and the way it goes (RFC 6665 §4.2.2, RFC 5839).

Each has the entity-tag of the state it tells of. A watcher that named the tag it has is not told that state
again: the body stays away, or the whole NOTIFY (`sip.pacing`).
"""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple, Protocol

import structlog

from presence.address import Address
from presence.model import PresenceDocument
from presence.ports import Metrics
from sip import eventlist
from sip.dialog import Dialog
from sip.documents import Body, render_of
from sip.fitting import datagram_size, smaller
from sip.flow import Flow
from sip.message import Request
from sip.packages import Feed
from sip.runtime import Runtime, Sender
from sip.settings import SipSettings
from sip.subscription import Subscription
from sip.uri import Uri

log = structlog.get_logger()

_CONTENT_FIELDS = 120
"Bytes of the fields that come with a body."
_BODIES = 2_000
"Rendered documents kept for the next watcher."
_NOTHING = "0"
"Entity-tag of no state at all."


class _Rendered(NamedTuple):
    document: PresenceDocument
    body: Body
    tag: str


class Phones(Protocol):
    """Where the watchers are."""

    def stream_of(self, address: Address, flow: Flow) -> Flow | None:
        """A connection that leads to the same phone of an account as a UDP flow."""

    def contact_of(self, address: Address, target: Uri, flow: Flow) -> Uri:
        """What a phone is called on a flow that gave its own GRUU as Contact; any other target as it is."""

    def connection_to(self, address: Address, target: Uri) -> Flow | None:
        """That of an account's phone that has registered here under that Contact."""


class Notifications:
    """Writes them. What is too long for a packet takes a connection of the same phone, or says less
    (`sip.fitting`)."""

    def __init__(
        self,
        settings: SipSettings,
        runtime: Runtime,
        sender: Sender,
        metrics: Metrics,
        phones: Phones,
    ) -> None:
        self._settings = settings
        self._runtime = runtime
        self._sender = sender
        self._metrics = metrics
        self._phones = phones
        self._bodies: OrderedDict[tuple[Address, str, str], _Rendered] = OrderedDict()

    def tag(self, subscription: Subscription, document: PresenceDocument | None) -> str:
        """Entity-tag of the full state the watcher would be told."""
        if subscription.active:
            if subscription.feed is not None:
                return subscription.feed.tag
            if document is not None:
                return self._rendered(subscription, document).tag
        return _NOTHING

    def matches(self, subscription: Subscription, document: PresenceDocument | None) -> bool:
        """The watcher's condition holds: it has this state (RFC 5839 §6.2)."""
        condition = subscription.condition
        if not condition:
            return False
        tag = self.tag(subscription, document)
        return condition in ("*", tag) or subscription.cut == (tag, condition)

    def write(
        self, subscription: Subscription, document: PresenceDocument | None, flow: Flow
    ) -> tuple[Request, Flow]:
        """The next NOTIFY in its dialog. `document`: what the watcher may see; None: nothing."""
        feed = subscription.feed if subscription.active else None
        known = self.matches(subscription, document)
        if document is None or known or feed is not None:
            if feed is not None and not known:
                return self._fed(subscription, feed, flow)
            tag = self.tag(subscription, document)
            subscription.dialog, request = self._request(subscription, None, tag, flow)
            return request, flow
        _, body, tag = self._rendered(subscription, document)
        dialog, request = self._request(subscription, body, tag, flow)
        most = self._settings.max_datagram
        if not flow.reliable and (size := datagram_size(request)) > most:
            stream = self.stream(subscription.watcher, flow)
            if stream is not None:
                flow = stream
                dialog, request = self._request(subscription, body, tag, flow)
            else:
                self._metrics.count("sip_notifications_cut_total")
                less = self._cut(subscription, document, most - size + len(request.body))
                short = less.tag() if less is not None else _NOTHING
                subscription.cut = (tag, short)
                dialog, request = self._request(subscription, less, short, flow)
        subscription.dialog = dialog
        return request, flow

    def stream(self, watcher: Address, flow: Flow) -> Flow | None:
        """A living connection of the phone on a UDP flow."""
        stream = self._phones.stream_of(watcher, flow)
        return stream if stream is not None and self._sender.alive(stream) else None

    def _fed(self, subscription: Subscription, feed: Feed, flow: Flow) -> tuple[Request, Flow]:
        """Feeds divide what they have to say; the rest follows behind the answer."""
        room = None
        if not flow.reliable:
            stream = self.stream(subscription.watcher, flow)
            if stream is not None:
                flow = stream
            else:
                _, bare = self._request(subscription, None, feed.tag, flow)
                room = self._settings.max_datagram - datagram_size(bare) - _CONTENT_FIELDS
        body = feed.body(subscription.dialog.local_cseq, room)
        subscription.due = feed.more
        subscription.dialog, request = self._request(subscription, body, feed.tag, flow)
        return request, flow

    def _request(
        self, subscription: Subscription, body: Body | None, tag: str, flow: Flow
    ) -> tuple[Dialog, Request]:
        if subscription.ending:
            state = f"terminated;reason={subscription.ending}"
        else:
            left = max(0, round(subscription.expires - self._runtime.now()))
            state = f"{subscription.state};expires={left}"
        headers = [("Event", subscription.event), ("Subscription-State", state), ("SIP-ETag", tag)]
        headers.append(("Contact", f"<{self._sender.contact(flow)}>"))
        if subscription.listed:
            headers.append(("Require", eventlist.OPTION))
        data = b""
        if body is not None:
            headers += [("Content-Type", body.content_type), *body.headers]
            data = body.numbered(subscription.dialog.local_cseq)
        dialog, request = subscription.dialog.request("NOTIFY", headers, data)
        request.uri = self._phones.contact_of(subscription.watcher, request.uri, flow)
        return dialog, request

    def _rendered(self, subscription: Subscription, document: PresenceDocument) -> _Rendered:
        key = (subscription.presentity, subscription.package.name, subscription.media)
        known = self._bodies.get(key)
        if known is not None and known.document is document:
            return known
        if subscription.veiled:
            # Others see more of the same person.
            body = render_of(subscription.package.name, subscription.media)(document)
            return _Rendered(document, body, body.tag())
        body = render_of(subscription.package.name, subscription.media)(document)
        rendered = self._bodies[key] = _Rendered(document, body, body.tag())
        if len(self._bodies) > _BODIES:
            self._bodies.popitem(last=False)
        return rendered

    def _cut(self, subscription: Subscription, document: PresenceDocument, room: int) -> Body | None:
        """The most that fits; a NOTIFY without a body where nothing does."""
        render = render_of(subscription.package.name, subscription.media)
        for less in smaller(document):
            body = render(less)
            if len(body.numbered(subscription.dialog.local_cseq)) <= room:
                return body
        log.warning(
            "notification_without_body",
            watcher=str(subscription.watcher),
            presentity=str(subscription.presentity),
        )
        return None
