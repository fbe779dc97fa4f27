"""The notifier: who watches whom from a phone, and what they are told (RFC 6665 §4.2, RFC 3856).

A subscription is answered at once and notified right behind the answer; whether it sees anything is
decided by the roster (`PresenceService.request`), and changes as soon as that does. A pending one hears no
presence at all. Every NOTIFY has the whole state. One is outstanding per dialog; changes meanwhile, or
within the throttle's interval, are gathered, and the last state is always delivered.

A phone that does not answer loses its subscription (§4.2.2); one whose connection broke keeps it, silent,
until it is back on another or the subscription expires.

# GAP RFC 6665 §4.2.1.1: of several processes on one port only the one that began a subscription refreshes it;
# a phone whose new connection reaches another gets 481 and subscribes anew
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, NamedTuple

import structlog

from presence.address import Address
from presence.composition import compose
from presence.model import PresenceDocument, Snapshot
from presence.policy import Decision, Standing
from presence.ports import AuthorisationChanged, Metrics, PresenceChanged
from presence.service import PresenceService
from presence.watching import WatchTable
from sip import eventlist
from sip.addressing import to_address, to_uri
from sip.dialog import Dialog
from sip.errors import ProtocolError
from sip.fitting import datagram_size, smaller
from sip.flow import Flow
from sip.message import Request, Response, new_tag, respond
from sip.packages import Body, Feed, Package, allow_events, packages
from sip.runtime import Answer, Runtime, Sender, Silence
from sip.settings import SipSettings
from sip.subscription import RECORD, Subscription, restore
from sip.uri import parse_uri

log = structlog.get_logger()

GONE = frozenset((404, 405, 410, 416, 480, 481, 482, 483, 484, 485, 489, 501, 604))
"Answers to a NOTIFY that end the subscription (RFC 6665 §4.2.2)."
_RETRY = 2.0
"Seconds to wait while too many of our requests are in flight."
_RESUMED_PER_SECOND = 500
"NOTIFYs after a restart are spread out."
_CONTENT_FIELDS = 120
"Bytes of the fields that come with a body."
_CHUNK = 500
"Presentities or records that go to the bus at once."


class Reply(NamedTuple):
    """An answer, and what to do once it is on the wire."""

    response: Response
    then: Callable[[], None] | None = None


class Notifier:
    def __init__(
        self,
        settings: SipSettings,
        service: PresenceService,
        runtime: Runtime,
        sender: Sender,
        metrics: Metrics,
        stream_of: Callable[[Address, Flow], Flow | None],
    ) -> None:
        """`stream_of`: a connection that leads to the same phone of an account as a UDP flow."""
        self._settings = settings
        self._service = service
        self._runtime = runtime
        self._sender = sender
        self._metrics = metrics
        self._stream_of = stream_of
        self._table: WatchTable[Subscription] = WatchTable()
        self._by_dialog: dict[tuple[str, str, str], Subscription] = {}
        self._by_watcher: dict[Address, dict[tuple[str, str, str], Subscription]] = {}
        "Watcher → (Call-ID, its tag, package) → subscription."
        self._on_flow: dict[Flow, set[Subscription]] = {}
        self._bodies: dict[tuple[Address, str], tuple[PresenceDocument, Body]] = {}

    def __len__(self) -> int:
        return len(self._by_dialog)

    # --- SUBSCRIBE ------------------------------------------------------------------------------

    async def subscribe(self, watcher: Address, request: Request, flow: Flow, trace: str) -> Reply:
        """Answer an authenticated SUBSCRIBE. Raises `ProtocolError`, `Refused`, `Unavailable`."""
        event = request.event
        package = packages().get(event.package) if event is not None else None
        if event is None or package is None:
            raise ProtocolError(489, headers=(("Allow-Events", allow_events()),))
        if request.to.tag:
            return await self._refresh(watcher, package, request, flow)
        presentity = to_address(request.uri)
        self._inspect(request, package, presentity)
        if self._is_list(presentity):
            self._need_connection(watcher, presentity, flow)
        expires = self._expires(request)
        if not presentity.local or not self._service.serves(presentity.domain):
            raise ProtocolError(404)
        now = self._runtime.now()
        subscription = Subscription(
            dialog=Dialog.from_request_uas(request, new_tag()),
            watcher=watcher,
            presentity=presentity,
            package=package,
            event=str(event),
            expires=now + expires,
            flow=flow,
            since=now,
        )
        self._feed(subscription)
        if expires == 0:
            return await self._fetch(subscription, request, flow)
        return await self._begin(subscription, request, expires, trace)

    def _is_list(self, presentity: Address) -> bool:
        return bool(self._settings.buddy_list) and presentity.local == self._settings.buddy_list

    def _inspect(self, request: Request, package: Package, presentity: Address) -> None:
        """What is needed to understand the notifications. Raises `ProtocolError` 406, 421, 489."""
        notified = package.notified
        if self._is_list(presentity):
            if not package.lists:
                raise ProtocolError(489, headers=(("Allow-Events", allow_events()),))
            offered = {tag.lower() for name in ("Supported", "Require") for tag in request.headers.all(name)}
            if eventlist.OPTION not in offered:
                # RFC 4662 §4.2: the list's state cannot be said in another way.
                raise ProtocolError(421, headers=(("Require", eventlist.OPTION),))
            notified = eventlist.MULTIPART
        accept = request.accept
        if accept is not None and not any(kind.includes(notified) for kind in accept):
            raise ProtocolError(406, headers=(("Accept", notified),))

    def _need_connection(self, watcher: Address, presentity: Address, flow: Flow) -> None:
        """Raises `ProtocolError` 302: packets are too small for a list."""
        if not flow.reliable and self._stream_of(watcher, flow) is None:
            raise ProtocolError(302, headers=(("Contact", f"<{to_uri(presentity)};transport=tcp>"),))

    def _feed(self, subscription: Subscription) -> None:
        """What it is notified of, if that is no one person's presence. Raises `ProtocolError`."""
        presentity, watcher = subscription.presentity, subscription.watcher
        if self._is_list(presentity):
            subscription.listed = True
            subscription.feed = eventlist.BuddyList(
                self._service, watcher, presentity, subscription.package, self._table.document
            )
            return
        subscription.feed = subscription.package.feed(
            self._service, watcher, presentity, self._table.document
        )
        if subscription.feed is not None and presentity != watcher:
            # RFC 3857 §4.6: only the owner; whether there is such a person is nobody's business.
            raise ProtocolError(403)

    def _expires(self, request: Request) -> int:
        expires = request.expires
        if expires is None:
            expires = self._settings.subscribe_expires
        if 0 < expires < self._settings.min_expires:
            raise ProtocolError(423, headers=(("Min-Expires", str(self._settings.min_expires)),))
        return min(expires, self._settings.max_expires)

    async def _begin(self, subscription: Subscription, request: Request, expires: int, trace: str) -> Reply:
        self._make_room(subscription.watcher)
        self._add(subscription)
        try:
            await self._listen(subscription)
            decision = await self._decide(subscription, ask=True, trace=trace)
            self._judge(decision.standing)
            if not subscription.decided:
                subscription.active = decision.standing is Standing.ACTIVE
            subscription.reserve()
            await self._service.put_records(subscription.record())
        except BaseException:
            self._remove(subscription, kept=False)
            raise
        log.info(
            "subscribed",
            watcher=str(subscription.watcher),
            presentity=str(subscription.presentity),
            state=subscription.state,
            reason=decision.reason,
            trace=trace,
        )
        self._metrics.count("sip_subscriptions_total", state=subscription.state)
        self._arm_expiry(subscription)
        return Reply(self._accepted(request, subscription, expires), partial(self._start, subscription))

    async def _fetch(self, subscription: Subscription, request: Request, flow: Flow) -> Reply:
        """RFC 6665 §4.4.3: the state once, in a dialog that ends with it. Asks nobody."""
        decision = await self._decide(subscription)
        self._judge(decision.standing)
        subscription.active = decision.standing is Standing.ACTIVE
        if subscription.feed is not None:
            await self._listen(subscription)
        (snapshot,) = await self._service.snapshots([subscription.presentity])
        document = compose(snapshot) if subscription.active else None
        subscription.ending = "timeout"

        def notify() -> None:
            notification, way = self._notification(subscription, document, flow)
            self._sender.send(notification, way, lambda answer: None)
            self._unlisten(subscription, self._table.watched_by(subscription))

        return Reply(self._accepted(request, subscription, 0), notify)

    async def _refresh(self, watcher: Address, package: Package, request: Request, flow: Flow) -> Reply:
        """A SUBSCRIBE in its dialog (RFC 6665 §4.2.1.1)."""
        subscription = self._by_dialog.get((request.call_id, request.to.tag, request.from_.tag))
        if (
            subscription is None
            or subscription.ending
            or subscription.watcher != watcher
            or subscription.package is not package
        ):
            raise ProtocolError(481, "Subscription Does Not Exist")
        if subscription.listed:
            self._need_connection(watcher, subscription.presentity, flow)
        expires = self._expires(request)
        subscription.dialog = subscription.dialog.received(request)
        self._pin(subscription, flow)
        subscription.expires = self._runtime.now() + expires
        if expires == 0:
            subscription.ending = "timeout"
        else:
            # What was decided meanwhile was heard of; should it have been lost, it is made good for here.
            decision = await self._decide(subscription)
            subscription.ending = _withdrawn(subscription, decision)
            subscription.active = decision.standing is Standing.ACTIVE
            if subscription.feed is not None:
                await self._listen(subscription)
                subscription.feed.restart()
            await self._service.put_records(subscription.record())
            self._arm_expiry(subscription)
        return Reply(
            self._accepted(request, subscription, expires), partial(self._push, subscription, urgent=True)
        )

    async def _decide(self, subscription: Subscription, *, ask: bool = False, trace: str = "") -> Decision:
        """May it see what it is about? With `ask` the presentity is asked, where it has not decided."""
        if subscription.listed:
            return Decision(Standing.ACTIVE, "own list")
        if ask:
            return await self._service.request(subscription.watcher, subscription.presentity, trace=trace)
        return await self._service.decide(subscription.watcher, subscription.presentity)

    def _judge(self, standing: Standing) -> None:
        if standing is Standing.NO_SUCH_PRESENTITY:
            raise ProtocolError(404)
        if standing is Standing.REJECTED:
            raise ProtocolError(403)

    def _accepted(self, request: Request, subscription: Subscription, expires: int) -> Response:
        assert subscription.flow is not None
        headers = [
            ("Contact", f"<{self._sender.contact(subscription.flow)}>"),
            ("Expires", str(expires)),
        ]
        if subscription.listed:
            headers.append(("Require", eventlist.OPTION))
        return respond(request, 200, to_tag=subscription.dialog.local_tag, headers=headers)

    def _start(self, subscription: Subscription) -> None:
        subscription.begun = True
        self._push(subscription, urgent=True)

    # --- tables ---------------------------------------------------------------------------------

    def _make_room(self, watcher: Address) -> None:
        mine = self._by_watcher.get(watcher, {})
        if len(mine) < self._settings.max_dialogs:
            return
        for subscription in list(mine.values()):
            if subscription.flow is None:
                self._remove(subscription)
                return
        raise ProtocolError(500, "Too Many Subscriptions", (("Retry-After", "60"),))

    def _add(self, subscription: Subscription) -> None:
        dialog = subscription.dialog
        mine = self._by_watcher.setdefault(subscription.watcher, {})
        # A phone that was restarted may come with the very identifiers it had before.
        name = (dialog.call_id, dialog.remote_tag, subscription.package.name)
        former = mine.get(name)
        if former is not None:
            self._remove(former)
            mine = self._by_watcher.setdefault(subscription.watcher, {})
        mine[name] = subscription
        self._by_dialog[dialog.id] = subscription
        if subscription.flow is not None:
            self._on_flow.setdefault(subscription.flow, set()).add(subscription)

    def _pin(self, subscription: Subscription, flow: Flow | None) -> None:
        """From now on it is notified there."""
        if flow == subscription.flow:
            return
        if subscription.flow is not None:
            mates = self._on_flow.get(subscription.flow, set())
            mates.discard(subscription)
            if not mates:
                self._on_flow.pop(subscription.flow, None)
        subscription.flow = flow
        if flow is not None:
            self._on_flow.setdefault(flow, set()).add(subscription)

    def _remove(self, subscription: Subscription, *, kept: bool = True) -> None:
        """Forget it. `kept`: there is a record of it."""
        dialog = subscription.dialog
        if self._by_dialog.get(dialog.id) is not subscription:
            return
        del self._by_dialog[dialog.id]
        mine = self._by_watcher.get(subscription.watcher, {})
        mine.pop((dialog.call_id, dialog.remote_tag, subscription.package.name), None)
        if not mine:
            self._by_watcher.pop(subscription.watcher, None)
        self._pin(subscription, None)
        subscription.cancel_timers()
        self._unlisten(subscription, self._table.watched_by(subscription))
        if kept:
            self._runtime.spawn(self._service.drop_records([subscription.key]))

    async def _listen(self, subscription: Subscription) -> None:
        """From now on it hears of what it is notified of."""
        feed = subscription.feed
        wanted = {subscription.presentity} if feed is None else set(await feed.load())
        now = set(self._table.watched_by(subscription))
        fresh = [each for each in sorted(wanted - now) if self._table.add(each, subscription)]
        self._unlisten(subscription, now - wanted)
        for start in range(0, len(fresh), _CHUNK):
            for snapshot in await self._service.watch(fresh[start : start + _CHUNK]):
                self._show(snapshot, but=subscription)

    def _unlisten(self, subscription: Subscription, presentities: Iterable[Address]) -> None:
        left = [each for each in presentities if self._table.discard(each, subscription)]
        for presentity in left:
            for name in packages():
                self._bodies.pop((presentity, name), None)
        if left:
            self._runtime.spawn(self._service.unwatch(left))

    async def _reload(self, subscription: Subscription) -> None:
        await self._listen(subscription)
        if self._by_dialog.get(subscription.dialog.id) is not subscription:
            # It ended meanwhile.
            self._unlisten(subscription, self._table.watched_by(subscription))
        else:
            self._push(subscription)

    def holds(self, flow: Flow) -> bool:
        """A subscription is notified over this flow."""
        return flow in self._on_flow

    # --- what changes ---------------------------------------------------------------------------

    def changed(self, envelope: PresenceChanged) -> None:
        self._show(envelope.snapshot)

    def _show(self, snapshot: Snapshot, *, but: Subscription | None = None) -> None:
        """Tell all who watch; `but` one that is told when it knows all it listens to."""
        change = self._table.update(snapshot)
        if change is not None and change.visible:
            for subscription in self._table.watchers(snapshot.address):
                feed = subscription.feed
                if (
                    subscription is not but
                    and subscription.active
                    and (feed is None or feed.presence(snapshot.address))
                ):
                    self._push(subscription)

    def authorisation(self, envelope: AuthorisationChanged) -> None:
        """The presentity decided about a watcher: at once, in both directions."""
        item, previous = envelope.item, envelope.previous
        for subscription in self._table.watchers(envelope.owner):
            if subscription.feed is not None:
                told = subscription.feed.authorisation(envelope)
                if told is None:
                    self._runtime.spawn(self._reload(subscription))
                elif told:
                    self._push(subscription)
                continue
            if subscription.watcher != envelope.contact:
                continue
            subscription.decided = True
            if item.seen and not subscription.active:
                subscription.active = True
                self._save(subscription)
                self._push(subscription, urgent=True)
            elif not item.seen and not item.pending_in and (previous.seen or previous.pending_in):
                self.end(subscription, "rejected")

    def account_gone(self, address: Address) -> None:
        """Nobody watches it any more, and it watches nobody; its phones are told not to try again."""
        for subscription in list(self._by_watcher.get(address, {}).values()):
            self.end(subscription, "rejected")
        for subscription in self._table.watchers(address):
            if subscription.presentity == address:
                self.end(subscription, "noresource")

    def end(self, subscription: Subscription, reason: str) -> None:
        """Say good-bye (RFC 6665 §4.1.3 reasons)."""
        if subscription.ending:
            return
        subscription.ending = reason
        if reason != "timeout":
            subscription.active = False
        log.info(
            "subscription_ended",
            watcher=str(subscription.watcher),
            presentity=str(subscription.presentity),
            reason=reason,
        )
        self._push(subscription, urgent=True)

    def flow_lost(self, flow: Flow) -> None:
        for subscription in tuple(self._on_flow.get(flow, ())):
            self._pin(subscription, None)

    def moved(self, watcher: Address, contact: str, flow: Flow) -> None:
        """A phone registered: what it watches and had no way to it any more, or an old one, is notified
        there."""
        here = parse_uri(contact)
        for subscription in list(self._by_watcher.get(watcher, {}).values()):
            old = subscription.flow
            if (
                old == flow
                or (old is not None and old.reliable)
                or (subscription.listed and not flow.reliable)
            ):
                continue
            target = parse_uri(subscription.dialog.remote_target)
            if (target.user, target.host) != (here.user, here.host):
                continue
            self._pin(subscription, flow)
            if old is None:
                self._push(subscription, urgent=True)

    def _arm_expiry(self, subscription: Subscription) -> None:
        if subscription.expiry is not None:
            subscription.expiry.cancel()
        left = max(0.0, subscription.expires - self._runtime.now())
        # RFC 6665 §4.1.2.2: a refresh may still be on its way.
        subscription.expiry = self._runtime.call_later(left + 1.0, partial(self.end, subscription, "timeout"))

    # --- NOTIFY ---------------------------------------------------------------------------------

    def _push(self, subscription: Subscription, *, urgent: bool = False) -> None:
        """There is something to say; now, or as soon as it may be said."""
        subscription.due = True
        subscription.urgent = subscription.urgent or urgent
        if subscription.outstanding or not subscription.begun:
            return
        wait = subscription.next_at - self._runtime.now()
        if subscription.urgent or wait <= 0:
            self._notify(subscription)
        elif subscription.throttle is None:
            subscription.throttle = self._runtime.call_later(wait, partial(self._turn, subscription))

    def _turn(self, subscription: Subscription) -> None:
        subscription.throttle = None
        if subscription.due:
            self._push(subscription)

    def _notify(self, subscription: Subscription) -> None:
        if self._by_dialog.get(subscription.dialog.id) is not subscription:
            return
        flow = subscription.flow
        if flow is None or not self._sender.alive(flow):
            self._pin(subscription, None)
            if subscription.ending:
                self._remove(subscription)
            return
        feed = subscription.feed
        if feed is not None and subscription.active and not subscription.urgent and not feed.more:
            subscription.due = False
            return
        if subscription.reserve():
            self._save(subscription)
        subscription.due = subscription.urgent = False
        request, way = self._notification(subscription, self._document(subscription), flow)
        subscription.outstanding = True
        subscription.next_at = self._runtime.now() + self._settings.notify_interval
        if subscription.throttle is not None:
            subscription.throttle.cancel()
            subscription.throttle = None
        self._metrics.count("sip_notifications_total")
        self._sender.send(request, way, partial(self._answered, subscription))
        if subscription.ending:
            self._remove(subscription)

    def _notification(
        self, subscription: Subscription, document: PresenceDocument | None, flow: Flow
    ) -> tuple[Request, Flow]:
        """The next NOTIFY, and the way it goes: what is too long for a packet takes a connection of the same
        phone, or says less (`sip.fitting`)."""
        feed = subscription.feed if subscription.active else None
        if feed is not None:
            return self._fed(subscription, feed, flow)
        version = subscription.dialog.local_cseq
        body = self._rendered(subscription, document, version) if document is not None else None
        dialog, request = self._request(subscription, body, flow)
        most = self._settings.max_datagram
        if not flow.reliable and (size := datagram_size(request)) > most:
            stream = self._stream(subscription, flow)
            if stream is not None:
                flow = stream
            else:
                self._metrics.count("sip_notifications_cut_total")
                body = self._cut(subscription, document, version, most - size + len(request.body))
            dialog, request = self._request(subscription, body, flow)
        subscription.dialog = dialog
        return request, flow

    def _fed(self, subscription: Subscription, feed: Feed, flow: Flow) -> tuple[Request, Flow]:
        """Feeds divide what they have to say; the rest follows behind the answer."""
        room = None
        if not flow.reliable:
            stream = self._stream(subscription, flow)
            if stream is not None:
                flow = stream
            else:
                _, bare = self._request(subscription, None, flow)
                room = self._settings.max_datagram - datagram_size(bare) - _CONTENT_FIELDS
        body = feed.body(subscription.dialog.local_cseq, room)
        subscription.due = feed.more
        subscription.dialog, request = self._request(subscription, body, flow)
        return request, flow

    def _stream(self, subscription: Subscription, flow: Flow) -> Flow | None:
        stream = self._stream_of(subscription.watcher, flow)
        return stream if stream is not None and self._sender.alive(stream) else None

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

    def _document(self, subscription: Subscription) -> PresenceDocument | None:
        """What the watcher may see: nothing while pending, nothing once rejected."""
        return self._table.document(subscription.presentity) if subscription.active else None

    def _rendered(self, subscription: Subscription, document: PresenceDocument, version: int) -> Body:
        package = subscription.package
        if package.versioned:
            return package.render(document, version)
        key = (subscription.presentity, package.name)
        known = self._bodies.get(key)
        if known is not None and known[0] is document:
            return known[1]
        body = package.render(document, version)
        if subscription.presentity in self._table:
            self._bodies[key] = (document, body)
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

    def _answered(self, subscription: Subscription, answer: Answer) -> None:
        subscription.outstanding = False
        if self._by_dialog.get(subscription.dialog.id) is not subscription:
            return
        if answer.status in GONE or answer.silence is Silence.TIMEOUT:
            log.info(
                "subscription_lost",
                watcher=str(subscription.watcher),
                presentity=str(subscription.presentity),
                reason=answer.silence.value if answer.silence else answer.status,
            )
            self._metrics.count("sip_subscriptions_lost_total")
            self._remove(subscription)
            return
        if subscription.feed is not None and not 200 <= answer.status < 300:
            subscription.feed.restart()
        if answer.silence is Silence.BROKEN:
            # It did not arrive; the state goes out again when there is a way.
            subscription.due = True
            if subscription.flow is not None and not self._sender.alive(subscription.flow):
                self._pin(subscription, None)
            elif subscription.flow is not None:
                self._push(subscription)
        elif answer.silence is Silence.BUSY:
            subscription.due = True
            subscription.next_at = self._runtime.now() + _RETRY
            self._push(subscription)
        elif subscription.due:
            self._push(subscription)

    # --- over restarts --------------------------------------------------------------------------

    def _save(self, subscription: Subscription) -> None:
        self._runtime.spawn(self._service.put_records(subscription.record()))

    async def resume(self) -> int:
        """Take up what an earlier process of this name left. Returns how many subscriptions go on."""
        now = self._runtime.now()
        found: list[Subscription] = []
        useless = []
        for key, data in (await self._service.records()).items():
            if not key.startswith(RECORD):
                continue
            subscription = restore(data)
            if subscription is None or subscription.expires <= now:
                useless.append(key)
            else:
                found.append(subscription)
        if useless:
            await self._service.drop_records(useless)
        fresh = []
        for subscription in found:
            self._feed(subscription)
            self._add(subscription)
            if subscription.feed is None and self._table.add(subscription.presentity, subscription):
                fresh.append(subscription.presentity)
        for start in range(0, len(fresh), _CHUNK):
            for snapshot in await self._service.watch(fresh[start : start + _CHUNK]):
                self._table.update(snapshot)
        for number, subscription in enumerate(found):
            await self._resume(subscription, number / _RESUMED_PER_SECOND)
        return len(found)

    async def _resume(self, subscription: Subscription, delay: float) -> None:
        self._arm_expiry(subscription)
        if subscription.feed is not None:
            await self._listen(subscription)
        decision = await self._decide(subscription)
        reason = _withdrawn(subscription, decision)
        subscription.active = decision.standing is Standing.ACTIVE
        if reason:
            self.end(subscription, reason)
        else:
            subscription.due = True
            subscription.throttle = self._runtime.call_later(delay, partial(self._turn, subscription))

    async def restate(self) -> None:
        """Watch and keep everything once more: the bus may have lost what was written last."""
        watched = self._table.presentities()
        for start in range(0, len(watched), _CHUNK):
            for snapshot in await self._service.watch(watched[start : start + _CHUNK]):
                self._show(snapshot)
        subscriptions = [s for s in self._by_dialog.values() if s.begun and not s.ending]
        for start in range(0, len(subscriptions), _CHUNK):
            records: dict[str, bytes] = {}
            for subscription in subscriptions[start : start + _CHUNK]:
                records |= subscription.record()
            await self._service.put_records(records)

    def sessions(self) -> list[dict[str, Any]]:
        """For `tandem sessions`."""
        return [
            {
                "address": str(subscription.watcher),
                "kind": "sip dialog",
                "since": subscription.since,
                "presentity": str(subscription.presentity),
                "package": subscription.package.name,
                "state": subscription.state,
                "peer": subscription.flow.remote if subscription.flow else "",
                "expires": subscription.expires,
            }
            for subscription in self._by_dialog.values()
        ]

    def close(self) -> None:
        """Timers only; the subscriptions go on in the next process."""
        for subscription in self._by_dialog.values():
            subscription.cancel_timers()


def _withdrawn(subscription: Subscription, decision: Decision) -> str:
    """Why a subscription must end, seen what the roster says now; empty when it may go on."""
    standing = decision.standing
    if standing is Standing.NO_SUCH_PRESENTITY:
        return "noresource"
    # A request that nobody has before them any more was denied.
    denied = standing is Standing.PENDING and (subscription.active or not decision.asked)
    return "rejected" if denied or standing is Standing.REJECTED else ""
