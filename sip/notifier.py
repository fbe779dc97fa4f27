"""The notifier: who watches whom from a phone (RFC 6665 §4.2, RFC 3856).

A subscription is answered at once and notified right behind the answer; whether it sees anything is
decided by the roster (`PresenceService.request`), and changes as soon as that does. A pending one hears no
presence at all. Every NOTIFY has the whole state.

What a SUBSCRIBE asks for is read in `sip.admission`; what is heard of is `sip.hearing`; what a NOTIFY says is
`sip.notification`, and when it goes, and what its answer means, `sip.pacing`.

Of several processes on one port the one that hears a refresh takes the subscription over, from a living
process or from a dead one (`Bus.take_record`): it has the way to the phone. One that has no way any more is
taken over by the process to which the phone came back (`sip.strays`).
"""

from __future__ import annotations

from functools import partial
from typing import Any

import structlog

from presence.address import Address
from presence.errors import Unavailable
from presence.model import PresenceDocument
from presence.policy import Decision, Standing
from presence.ports import AuthorisationChanged, Metrics, PresenceChanged
from presence.service import PresenceService
from sip import eventlist
from sip.addressing import to_uri
from sip.admission import Wanted, condition_of, content_of, expires_of, package_of, wanted
from sip.dialog import Dialog
from sip.dialogs import Dialogs
from sip.documents import render_of
from sip.errors import ProtocolError
from sip.flow import Flow
from sip.hearing import CHUNK, Hearing, nobody
from sip.limits import Limits
from sip.lists import Given, Lookup, Named, Roll, Roster, given, no_lists
from sip.message import Request, Response, new_tag, respond
from sip.notification import Notifications, Phones
from sip.pacing import Pacing
from sip.packages import Attendance, Attending
from sip.runtime import Reply, Runtime, Sender
from sip.settings import SipSettings
from sip.strays import StrayDialogs
from sip.subscription import RECORD, Subscription, key_of, restore
from sip.topology import Topology
from sip.uri import parse_uri
from sip.words import Arrived, Strays
from sip.xcap.library import Library

log = structlog.get_logger()

_MAX_DIALOG = 4096
"Characters of identifiers and routes that are kept for one subscription."
_RESUMED_PER_SECOND = 500
"NOTIFYs after a restart are spread out."


class Notifier:
    def __init__(
        self,
        settings: SipSettings,
        service: PresenceService,
        runtime: Runtime,
        sender: Sender,
        metrics: Metrics,
        phones: Phones,
        topology: Topology,
        library: Library,
        limits: Limits,
        lookup: Lookup = no_lists,
    ) -> None:
        """`lookup`: lists with addresses of their own."""
        self._limits = limits
        self._library = library
        self._lookup = lookup
        self._phones = phones
        self._settings = settings
        self._service = service
        self._runtime = runtime
        self._sender = sender
        self._metrics = metrics
        self._topology = topology
        self._dialogs = Dialogs()
        self._notifications = Notifications(settings, runtime, sender, metrics, phones)
        self._hearing = Hearing(
            service,
            runtime,
            tell=lambda subscription: self._pacing.push(subscription),
            reload=lambda subscription: runtime.spawn(self._reload(subscription)),
        )
        self._pacing = Pacing(
            settings,
            runtime,
            sender,
            metrics,
            self._dialogs,
            self._notifications,
            document_of=self._document,
            forget=self._remove,
            save=self._save,
        )
        self._strays = StrayDialogs(
            service,
            runtime,
            self._dialogs,
            phones,
            adopt=lambda key, flow: runtime.spawn(self._adopt(key, flow)),
        )

    def __len__(self) -> int:
        return len(self._dialogs)

    # --- SUBSCRIBE ------------------------------------------------------------------------------

    async def subscribe(self, watcher: Address, request: Request, flow: Flow, trace: str) -> Reply:
        """Answer an authenticated SUBSCRIBE. Raises `ProtocolError`, `Refused`, `Unavailable`."""
        if request.to.tag:
            return await self._refresh(watcher, request, flow)
        asked = wanted(request, self._settings)
        if not asked.listed and asked.package.lists and await self._is_list(watcher, asked):
            asked = wanted(request, self._settings, named=True)
        if asked.listed:
            self._need_connection(watcher, asked.presentity, flow)
        has_name = bool(asked.presentity.local) or asked.names is not None
        if not has_name or not self._service.serves(asked.presentity.domain):
            raise ProtocolError(404)
        subscription = self._subscription(watcher, asked, request, flow)
        if asked.expires == 0:
            return await self._fetch(subscription, request, flow)
        return await self._begin(subscription, request, flow, asked.expires, trace)

    async def _is_list(self, watcher: Address, asked: Wanted) -> bool:
        """Nobody has that address, but a list of the watcher's."""
        if await self._service.knows(asked.presentity):
            return False
        return await self._lookup(watcher, asked.presentity, asked.package.name) is not None

    def _subscription(self, watcher: Address, asked: Wanted, request: Request, flow: Flow) -> Subscription:
        now = self._runtime.now()
        dialog = Dialog.from_request_uas(request, new_tag())
        if dialog.weight + len(asked.event) > _MAX_DIALOG:
            raise ProtocolError(513)
        subscription = Subscription(
            dialog=dialog,
            watcher=watcher,
            presentity=asked.presentity,
            package=asked.package,
            event=asked.event,
            expires=now + asked.expires,
            flow=self._topology.way(request, flow),
            since=now,
            media=asked.media,
            condition=asked.condition,
            listed=asked.listed,
            names=asked.names,
            content=asked.content,
        )
        self._feed(subscription, ask=asked.expires > 0)
        return subscription

    def _need_connection(self, watcher: Address, presentity: Address, flow: Flow) -> None:
        """Raises `ProtocolError` 302: packets are too small for a list."""
        if not flow.reliable and self._notifications.stream(watcher, flow) is None:
            raise ProtocolError(302, headers=(("Contact", f"<{to_uri(presentity)};transport=tcp>"),))

    def _feed(self, subscription: Subscription, *, ask: bool = False) -> None:
        """What it is notified of, if that is no one person's presence. With `ask`, those in a list are asked
        who have not decided. Raises `ProtocolError`."""
        presentity, watcher = subscription.presentity, subscription.watcher
        buddies = bool(self._settings.buddy_list) and presentity.local == self._settings.buddy_list
        if subscription.listed or buddies:
            subscription.listed = True
            event = subscription.package.name
            roll: Roll
            if subscription.names is not None:
                roll = Given(subscription.names)
            elif buddies:
                roll = Roster(self._service, watcher)
            else:
                roll = Named(self._lookup, watcher, presentity, event)
            render = render_of(event, subscription.media)
            admit = partial(self._limits.check_list, watcher, now=self._runtime.now())
            document_of = partial(self._hearing.document, watcher)
            reader = eventlist.Reader(self._service, watcher, event, render, document_of, self._lookup, admit)
            subscription.feed = eventlist.ResourceList(reader, presentity, roll, ask=ask)
            return
        subscription.feed = subscription.package.feed(
            self._service, watcher, presentity, partial(self._hearing.document, watcher)
        )
        if subscription.feed is None:
            subscription.feed = subscription.package.follow(self._library, watcher, subscription.content)
        allowed = subscription.package.allowed(watcher, presentity, self._settings)
        if subscription.feed is not None and not allowed:
            # RFC 3857 §4.6, RFC 3680 §4.6; whether there is such a person is nobody's business.
            raise ProtocolError(403)
        if isinstance(subscription.feed, Attending):
            subscription.feed.attend(self._attendances(presentity))

    async def _begin(
        self, subscription: Subscription, request: Request, flow: Flow, expires: int, trace: str
    ) -> Reply:
        self._make_room(subscription.watcher)
        self._add(subscription)
        try:
            await self._hearing.listen(subscription)
            decision = await self._decide(subscription, ask=True, trace=trace)
            self._judge(decision.standing)
            if not subscription.decided:
                subscription.judge(decision.standing)
            subscription.reserve()
            await self._service.put_records(subscription.record())
        except BaseException:
            self._drop(subscription)
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
        self._attended(subscription)
        return Reply(
            self._accepted(request, subscription, flow, expires), partial(self._pacing.start, subscription)
        )

    async def _fetch(self, subscription: Subscription, request: Request, flow: Flow) -> Reply:
        """RFC 6665 §4.4.3: the state once, in a dialog that ends with it. Asks nobody."""
        decision = await self._decide(subscription)
        self._judge(decision.standing)
        subscription.judge(decision.standing)
        if subscription.feed is not None:
            await self._hearing.listen(subscription)
        (snapshot,) = await self._service.snapshots([subscription.presentity])
        document = nobody(subscription.presentity)
        if not subscription.veiled:
            document = await self._service.show(snapshot, subscription.watcher)
        shown = document if subscription.active else None
        subscription.ending = "timeout"

        def notify() -> None:
            assert subscription.flow is not None
            notification, way = self._notifications.write(subscription, shown, subscription.flow)
            self._sender.send(notification, way, lambda answer: None)
            self._hearing.leave(subscription)

        return Reply(self._accepted(request, subscription, flow, 0), notify)

    async def _refresh(self, watcher: Address, request: Request, flow: Flow) -> Reply:
        """A SUBSCRIBE in its dialog (RFC 6665 §4.2.1.1)."""
        package = package_of(request)
        key = key_of(watcher, request.call_id, request.to.tag, request.from_.tag)
        subscription = self._dialogs.find(key) or await self._take_over(key)
        if subscription is None or subscription.ending or subscription.package is not package:
            raise ProtocolError(481, "Subscription Does Not Exist")
        if given(request) is not None:
            # RFC 5367 §5.1
            raise ProtocolError(415)
        if subscription.listed:
            self._need_connection(watcher, subscription.presentity, flow)
        expires = expires_of(request, self._settings)
        subscription.dialog = subscription.dialog.received(request)
        subscription.condition = condition_of(request)
        if asked := content_of(request, package):
            subscription.content = asked
            self._feed(subscription)
        subscription.failures = 0
        self._dialogs.pin(subscription, self._way(subscription, flow))
        subscription.expires = self._runtime.now() + expires
        if expires:
            # What was decided meanwhile was heard of; should it have been lost, it is made good for here.
            decision = await self._decide(subscription)
            subscription.ending = _withdrawn(subscription, decision)
            subscription.judge(decision.standing)
            if subscription.feed is not None:
                await self._hearing.listen(subscription)
        document = self._document(subscription)
        known = not subscription.ending and self._notifications.matches(subscription, document)
        accepted = self._accepted(request, subscription, flow, expires, 204 if known else 200)
        if expires:
            if subscription.feed is not None and not known:
                subscription.feed.restart()
            if not await self._keep(subscription):
                raise ProtocolError(481, "Subscription Moved")
            self._arm_expiry(subscription)
        elif known:
            # RFC 5839 §5.7: the 204 concludes it.
            self._remove(subscription)
        else:
            subscription.ending = "timeout"
        then = self._pacing.push if known else self._pacing.urge
        return Reply(accepted, partial(then, subscription))

    async def _take_over(self, key: str) -> Subscription | None:
        """What another process holds, or held when it died, is from now on notified by this one."""
        data = await self._service.take_record(key)
        if data is None or (known := self._dialogs.find(key)) is not None:
            return None if data is None else known
        subscription = restore(data)
        if subscription is None or not self._goes_on(subscription):
            await self._service.drop_records([key])
            return None
        self._add(subscription)
        try:
            await self._hearing.listen(subscription)
        except BaseException:
            self._drop(subscription)
            raise
        self._pacing.heard(subscription)
        self._arm_expiry(subscription)
        self._attended(subscription)
        log.info(
            "subscription_taken_over",
            watcher=str(subscription.watcher),
            presentity=str(subscription.presentity),
        )
        return subscription

    async def _adopt(self, key: str, flow: Flow) -> None:
        """Its phone came back to this process."""
        try:
            subscription = await self._take_over(key)
            if subscription is None or subscription.flow is not None:
                return
            self._dialogs.pin(subscription, flow)
            if await self._reconsider(subscription):
                self._pacing.urge(subscription)
        except Unavailable as error:
            log.warning("subscription_not_taken_over", error=str(error))

    def heard(self, word: Arrived | Strays) -> None:
        """What another process says."""
        if isinstance(word, Arrived):
            self._strays.they_arrived(word)
        else:
            self._strays.they_miss(word)

    def _way(self, subscription: Subscription, flow: Flow) -> Flow:
        """Where it is notified, now that the phone has spoken: a route through a trusted proxy stays."""
        known = subscription.flow
        return known if known is not None and known.routed and self._topology.trusts(flow) else flow

    async def _decide(self, subscription: Subscription, *, ask: bool = False, trace: str = "") -> Decision:
        """May it see what it is about? With `ask` the presentity is asked, where it has not decided."""
        if subscription.listed:
            return Decision(Standing.ACTIVE, "own list")
        if subscription.feed is not None:
            # Who is served is settled; is there such a person?
            return await self._service.decide(subscription.presentity, subscription.presentity)
        if ask:
            return await self._service.request(subscription.watcher, subscription.presentity, trace=trace)
        return await self._service.decide(subscription.watcher, subscription.presentity)

    def _document(self, subscription: Subscription) -> PresenceDocument | None:
        """What the watcher may see: nothing while pending, nothing once rejected."""
        if not subscription.active:
            return None
        presentity = subscription.presentity
        if subscription.veiled:
            return nobody(presentity)
        return self._hearing.document(subscription.watcher, presentity)

    def _judge(self, standing: Standing) -> None:
        if standing is Standing.NO_SUCH_PRESENTITY:
            raise ProtocolError(404)
        if standing is Standing.REJECTED:
            raise ProtocolError(403)

    def _accepted(
        self, request: Request, subscription: Subscription, flow: Flow, expires: int, status: int = 200
    ) -> Response:
        headers = [
            ("Contact", f"<{self._sender.contact(flow)}>"),
            ("Expires", str(expires)),
        ]
        if subscription.listed:
            headers.append(("Require", eventlist.OPTION))
        return respond(request, status, to_tag=subscription.dialog.local_tag, headers=headers)

    # --- tables ---------------------------------------------------------------------------------

    def _make_room(self, watcher: Address) -> None:
        mine = self._dialogs.of(watcher)
        if len(mine) < self._settings.max_dialogs:
            return
        unreachable = next((each for each in mine if each.flow is None), None)
        if unreachable is None:
            raise ProtocolError(500, "Too Many Subscriptions", (("Retry-After", "60"),))
        self._remove(unreachable)

    def _add(self, subscription: Subscription) -> None:
        former = self._dialogs.twin(subscription)
        if former is not None:
            self._remove(former)
        self._dialogs.add(subscription)

    def _drop(self, subscription: Subscription) -> bool:
        """Forget it; there is no record of it. False when it was forgotten before."""
        if not self._dialogs.remove(subscription):
            return False
        self._hearing.leave(subscription)
        self._attended(subscription, over=True)
        return True

    def _attended(self, subscription: Subscription, *, over: bool = False) -> None:
        """Tell the presentity's own phones that somebody began, or ended, to watch (RFC 3857)."""
        if subscription.package.name != "presence" or subscription.listed or subscription.veiled:
            return
        for own in self._dialogs.of(subscription.presentity):
            if own.package.name == "presence.winfo" and isinstance(own.feed, Attending):
                ended = _attendance(subscription) if over else None
                if own.feed.attend(self._attendances(subscription.presentity), ended):
                    self._pacing.push(own)

    def _attendances(self, presentity: Address) -> tuple[Attendance, ...]:
        return tuple(
            _attendance(each)
            for each in self._dialogs.about(presentity)
            if not each.veiled and each.watcher != presentity
        )

    def _remove(self, subscription: Subscription) -> None:
        """Forget it, and the record of it."""
        if self._drop(subscription):
            self._runtime.spawn(self._service.drop_records([subscription.key]))

    async def _keep(self, subscription: Subscription) -> bool:
        """Write its record. False when another process has taken it over: then it is forgotten here."""
        if not await self._service.put_records(subscription.record()):
            return True
        self._drop(subscription)
        return False

    def _save(self, subscription: Subscription) -> None:
        self._runtime.spawn(self._resave(subscription))

    async def _resave(self, subscription: Subscription) -> None:
        if subscription in self._dialogs:
            await self._keep(subscription)

    def taken(self, key: str) -> None:
        """Another process has it, unless it is back already."""
        if self._dialogs.find(key) is not None:
            self._runtime.spawn(self._let_go(key))

    async def _let_go(self, key: str) -> None:
        if not await self._service.has_record(key) and (gone := self._dialogs.find(key)) is not None:
            self._drop(gone)

    async def _reload(self, subscription: Subscription) -> None:
        await self._hearing.listen(subscription)
        if subscription not in self._dialogs:
            # It ended meanwhile.
            self._hearing.leave(subscription)
        else:
            self._pacing.push(subscription)

    def holds(self, flow: Flow) -> bool:
        """A subscription is notified over this flow."""
        return self._dialogs.holds(flow)

    # --- what changes ---------------------------------------------------------------------------

    def changed(self, envelope: PresenceChanged) -> None:
        self._hearing.show(envelope.snapshot)

    def authorisation(self, envelope: AuthorisationChanged) -> None:
        """The presentity decided about a watcher: at once, in both directions."""
        item, previous = envelope.item, envelope.previous
        for subscription in self._hearing.watchers(envelope.owner):
            if subscription.feed is not None:
                told = subscription.feed.authorisation(envelope)
                if told is None:
                    self._runtime.spawn(self._reload(subscription))
                elif told:
                    self._pacing.push(subscription)
                continue
            if subscription.watcher != envelope.contact:
                continue
            subscription.decided = True
            if item.seen and (subscription.veiled or not subscription.active):
                subscription.judge(Standing.ACTIVE)
                self._save(subscription)
                self._pacing.urge(subscription)
            elif not item.seen and not item.pending_in and (previous.seen or previous.pending_in):
                # From this moment it hears nothing; what it is told remains to be seen.
                subscription.active = False
                self._runtime.spawn(self._withdraw(subscription))

    async def _withdraw(self, subscription: Subscription) -> None:
        """The presentity denied, cancelled or blocked."""
        decision = await self._decide(subscription)
        if decision.standing is Standing.ACTIVE:
            # It was granted anew meanwhile, or by a policy.
            subscription.judge(decision.standing)
        elif decision.standing is Standing.VEILED:
            subscription.judge(decision.standing)
            self._save(subscription)
        else:
            self.end(subscription, "rejected")
            return
        self._pacing.push(subscription)

    def account_changed(self, owner: Address) -> None:
        """Whom they block, perhaps, or what they show to whom."""
        self.kept(owner)
        if owner in self._hearing:
            self._runtime.spawn(self._hearing.reread(owner))

    def kept(self, owner: Address) -> None:
        """What somebody's phones keep here changed."""
        for subscription in self._hearing.watchers(owner):
            told = subscription.feed.kept(owner) if subscription.feed is not None else False
            if told is None:
                self._runtime.spawn(self._reload(subscription))
            elif told:
                self._pacing.push(subscription)

    def shown_out(self, address: Address) -> None:
        """It watches nobody any more; its phones are told not to try again."""
        for subscription in self._dialogs.of(address):
            self.end(subscription, "rejected")

    def account_gone(self, address: Address) -> None:
        """And nobody watches it."""
        self.shown_out(address)
        for subscription in self._hearing.watchers(address):
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
        self._pacing.urge(subscription)

    def flow_lost(self, flow: Flow) -> None:
        for subscription in self._dialogs.on(flow):
            dialog = subscription.dialog
            self._dialogs.pin(subscription, self._topology.detour(dialog.remote_target, dialog.route_set))
            if subscription.flow is None:
                self._strays.lost(subscription)
        self._strays.left(flow)

    def moved(self, watcher: Address, contact: str, flow: Flow) -> None:
        """A phone registered: what it watches and had no way to it any more, or an old one, is notified
        there."""
        self._strays.arrived(watcher, flow)
        here = parse_uri(contact)
        for subscription in self._dialogs.of(watcher):
            old = subscription.flow
            if (
                old == flow
                or (old is not None and (old.reliable or flow.routed))
                or (subscription.listed and not flow.reliable)
            ):
                continue
            target = self._phones.contact_of(watcher, parse_uri(subscription.dialog.remote_target), flow)
            # Where it can still be reached, another port is another phone.
            same = (target.user, target.host) == (here.user, here.host) and (
                old is None or target.port == here.port
            )
            if not same:
                continue
            self._dialogs.pin(subscription, flow)
            if old is None:
                self._pacing.urge(subscription)

    def _arm_expiry(self, subscription: Subscription) -> None:
        if subscription.expiry is not None:
            subscription.expiry.cancel()
        left = max(0.0, subscription.expires - self._runtime.now())
        # RFC 6665 §4.1.2.2: a refresh may still be on its way.
        subscription.expiry = self._runtime.call_later(left + 1.0, partial(self.end, subscription, "timeout"))

    # --- over restarts --------------------------------------------------------------------------

    async def resume(self) -> int:
        """Take up what an earlier process of this name left. Returns how many subscriptions go on."""
        found: list[Subscription] = []
        useless = []
        for key, data in (await self._service.records()).items():
            if not key.startswith(RECORD):
                continue
            if self._dialogs.find(key) is not None:
                # It was refreshed before its turn came.
                continue
            subscription = restore(data)
            if subscription is None or subscription.key != key or not self._goes_on(subscription):
                useless.append(key)
            else:
                found.append(subscription)
                self._add(subscription)
        if useless:
            await self._service.drop_records(useless)
        await self._hearing.take_up(found)
        for number, subscription in enumerate(found):
            await self._resume(subscription, number / _RESUMED_PER_SECOND)
        return len(found)

    def _goes_on(self, subscription: Subscription) -> bool:
        """It has not expired, and what it is about is still served: the settings may have changed."""
        if subscription.expires <= self._runtime.now():
            return False
        try:
            self._feed(subscription)
        except ProtocolError:
            return False
        return True

    async def _resume(self, subscription: Subscription, delay: float) -> None:
        self._arm_expiry(subscription)
        if subscription.flow is None:
            dialog = subscription.dialog
            self._dialogs.pin(subscription, self._topology.detour(dialog.remote_target, dialog.route_set))
        if subscription.flow is None:
            self._strays.lost(subscription)
        if subscription.feed is not None:
            await self._hearing.listen(subscription)
        self._pacing.heard(subscription)
        if await self._reconsider(subscription):
            self._pacing.later(subscription, delay)

    async def _reconsider(self, subscription: Subscription) -> bool:
        """What holds now, after nobody had it for a while; False: that it ends."""
        decision = await self._decide(subscription)
        reason = _withdrawn(subscription, decision)
        subscription.judge(decision.standing)
        if reason:
            self.end(subscription, reason)
        return not reason

    async def restate(self) -> None:
        """Watch and keep everything once more: the bus may have lost what was written last."""
        await self._hearing.restate()
        subscriptions = [each for each in self._dialogs if each.begun and not each.ending]
        for start in range(0, len(subscriptions), CHUNK):
            records: dict[str, bytes] = {}
            for subscription in subscriptions[start : start + CHUNK]:
                records |= subscription.record()
            for key in await self._service.put_records(records):
                self.taken(key)

    def sessions(self) -> list[dict[str, Any]]:
        """For `tandem sessions`."""
        return self._dialogs.sessions()

    def close(self) -> None:
        """Timers only; the subscriptions go on in the next process."""
        self._strays.close()
        for subscription in self._dialogs:
            subscription.cancel_timers()


def _attendance(subscription: Subscription) -> Attendance:
    return Attendance(
        subscription.key,
        subscription.watcher,
        subscription.active,
        subscription.since,
        subscription.expires,
        subscription.ending,
    )


def _withdrawn(subscription: Subscription, decision: Decision) -> str:
    """Why a subscription must end, seen what the roster says now; empty when it may go on."""
    standing = decision.standing
    if standing is Standing.NO_SUCH_PRESENTITY:
        return "noresource"
    # A request that nobody has before them any more was denied.
    denied = standing is Standing.PENDING and (subscription.active or not decision.asked)
    return "rejected" if denied or standing is Standing.REJECTED else ""
