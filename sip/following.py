"""Event state of other servers, followed for people here (`sip.follow`): one process at a time does it.

Phones registered with another registrar, and calls another server knows of, become sources of the person, and
live as long as the subscription that told of them (`sip.subscriber`, `sip.views`). What a NOTIFY says is
written in its order; the bus being away, it is written as soon as it is back.

Of several processes on one port another than the one that subscribed may be given the NOTIFY. It knows by the
Call-ID that it is one of ours, and passes it on.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any

import structlog
from msgspec.structs import replace

from presence.address import Address, parse_address
from presence.errors import InvalidAddress, Unavailable
from presence.ports import Accounts, EndpointKind, Lease, Metrics, SourceWrite, Update
from presence.service import PresenceService
from sip.errors import ProtocolError
from sip.flow import routed
from sip.message import Request, Response, new_call_id, respond, serialise
from sip.missed import MissedCalls
from sip.parser import parse_message
from sip.runtime import Answer, Runtime, Sender, Timer
from sip.settings import Followed, SipSettings
from sip.subscriber import Subscriber, Topic
from sip.views import Telling, View, views
from sip.words import Overheard, encode

log = structlog.get_logger()

SOURCE = "sip-far:"
LEASE = "follower"
_LEASE_SECONDS = 40.0
"Must outlast the looks for what is to be followed (`Following.look`)."
_GRACE = 32.0
"Seconds a source outlasts its subscription, for the refresh to travel."
_PER_TURN = 50
"SUBSCRIBEs that leave at once; others follow a second later."
_AGAIN = 2.0
"Seconds until the bus is tried again."


class Followee:
    """One person's event state at one server."""

    __slots__ = ("again", "hop", "name", "subscriber", "topic", "view", "writing")

    def __init__(self, topic: Topic, view: View, now: float, new_call_id: Callable[[], str]) -> None:
        self.topic = topic
        self.view = view
        self.subscriber = Subscriber(topic, now, new_call_id)
        self.hop = routed(topic.server)
        words = f"{topic.server} {topic.event} {topic.resource}"
        self.name = SOURCE + hashlib.blake2b(words.encode(), digest_size=6).hexdigest() + "."
        "Prefix of its sources' ids; the same in the next process."
        self.writing = False
        self.again = False


class Following:
    def __init__(
        self,
        settings: SipSettings,
        service: PresenceService,
        accounts: Accounts,
        runtime: Runtime,
        sender: Sender,
        metrics: Metrics,
        missed: MissedCalls,
        passwords: Mapping[str, str],
        *,
        secret: bytes,
    ) -> None:
        """`passwords`: by `Followed.password_file`. `secret`: shared by the processes."""
        self._secret = secret
        self._wanted = settings.follow
        self._service = service
        self._accounts = accounts
        self._runtime = runtime
        self._sender = sender
        self._metrics = metrics
        self._missed = missed
        self._passwords = passwords
        self._followed: dict[tuple[str, str, Address], Followee] = {}
        self._by_call: dict[str, Followee] = {}
        self._timer: Timer | None = None

    # --- whom -----------------------------------------------------------------------------------

    async def look(self) -> None:
        """Now and then: whom to follow, if it is this process that does it."""
        if not self._wanted:
            return
        try:
            if not await self._service.lease(LEASE, _LEASE_SECONDS):
                self._stop_all()
                return
            for wanted in self._wanted:
                await self._follow_all(wanted)
        except Unavailable as error:
            log.warning("following_waits", error=str(error))
        self._arm()

    async def _follow_all(self, wanted: Followed) -> None:
        if wanted.addresses:
            people = [found for text in wanted.addresses if (found := _address(text)) is not None]
        else:
            people = [each.address for each in await self._accounts.list() if each.enabled]
        keys: set[tuple[str, str, Address]] = {
            (wanted.server, event, each) for each in people for event in wanted.events
        }
        for key in keys - self._followed.keys():
            self._follow(wanted, *key)
        for key in [k for k in self._followed if k[0] == wanted.server and k not in keys]:
            self._drop(key)

    def _follow(self, wanted: Followed, server: str, event: str, resource: Address) -> None:
        if not self._service.serves(resource.domain):
            return
        kind = views()[event]
        topic = Topic(
            server=server,
            resource=resource,
            event=event,
            accept=kind.media,
            watcher=_address(wanted.watcher) or Address("", resource.domain),
            user=wanted.user,
            password=self._passwords.get(str(wanted.password_file), ""),
            # What is said of calls is soon untrue; all of it comes with each refresh.
            expires=wanted.expires,
        )
        followee = Followee(topic, kind.make(resource), self._runtime.now(), self._new_call_id)
        self._followed[server, event, resource] = followee

    def _drop(self, key: tuple[str, str, Address]) -> None:
        followee = self._followed.pop(key)
        self._by_call.pop(followee.subscriber.call_id, None)

    def _stop_all(self) -> None:
        """Another process does it: what is here is told no more, and ends over there."""
        self._followed.clear()
        self._by_call.clear()

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    # --- SUBSCRIBE ------------------------------------------------------------------------------

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        waiting = [f.subscriber.next_at for f in self._followed.values() if not f.subscriber.outstanding]
        if waiting:
            delay = max(0.0, min(waiting) - self._runtime.now())
            self._timer = self._runtime.call_later(delay, self._turn)

    def _turn(self) -> None:
        now = self._runtime.now()
        due = [
            followee
            for followee in self._followed.values()
            if followee.subscriber.next_at <= now and not followee.subscriber.outstanding
        ]
        for followee in due[:_PER_TURN]:
            self._subscribe(followee, now)
        for followee in due[_PER_TURN:]:
            followee.subscriber.next_at = now + 1.0
        self._arm()

    def _subscribe(self, followee: Followee, now: float) -> None:
        subscriber = followee.subscriber
        self._by_call.pop(subscriber.call_id, None)
        request = subscriber.request(self._sender.contact(followee.hop), now)
        self._by_call[subscriber.call_id] = followee
        self._metrics.count("sip_subscribes_sent_total", event=followee.topic.event)
        self._sender.send(request, followee.hop, partial(self._answered, followee, request))

    def _answered(self, followee: Followee, request: Request, answer: Answer) -> None:
        call_id = followee.subscriber.call_id
        reason = followee.subscriber.answered(request, answer, self._runtime.now())
        self._renamed(followee, call_id)
        if reason:
            log.info(
                "following_failed",
                presentity=str(followee.topic.resource),
                event_package=followee.topic.event,
                server=followee.topic.server,
                reason=reason,
            )
        self._arm()

    def _renamed(self, followee: Followee, call_id: str) -> None:
        """It may have begun anew, with another Call-ID."""
        if self._by_call.get(call_id) is followee and followee.subscriber.call_id != call_id:
            del self._by_call[call_id]

    # --- NOTIFY ---------------------------------------------------------------------------------

    def _new_call_id(self) -> str:
        name = new_call_id()
        return f"{name}.{self._proof(name)}"

    def _proof(self, name: str) -> str:
        return hmac.digest(self._secret, name.encode("utf-8", "replace"), "sha256")[:8].hex()

    def answer(self, request: Request) -> Response:
        """To a NOTIFY. Raises `ProtocolError`."""
        name, _, proof = request.call_id.rpartition(".")
        ours = bool(self._wanted) and hmac.compare_digest(proof.encode(), self._proof(name).encode())
        if request.call_id in self._by_call or not ours:
            return self.receive(request)
        # A subscription that is over hears it from nobody, and ends by itself.
        self._runtime.spawn(self._pass_on(request))
        return respond(request, 200)

    async def _pass_on(self, request: Request) -> None:
        with suppress(Unavailable):
            await self._service.say(EndpointKind.SIP, encode(Overheard(serialise(request))))

    def overheard(self, data: bytes) -> None:
        """A NOTIFY that came to another process, which has answered it."""
        request = parse_message(data)
        if not isinstance(request, Request) or request.call_id not in self._by_call:
            return
        try:
            self.receive(request)
        except ProtocolError:
            followee = self._by_call[request.call_id]
            followee.subscriber.refresh(self._runtime.now())
            self._arm()

    def receive(self, request: Request) -> Response:
        """The answer to a NOTIFY that came here. Raises `ProtocolError`."""
        followee = self._by_call.get(request.call_id)
        if followee is None or request.to.tag != followee.subscriber.local_tag:
            raise ProtocolError(481)
        now = self._runtime.now()
        subscriber, call_id = followee.subscriber, request.call_id
        if subscriber.notified(request, now) and request.body:
            content_type = request.content_type
            if content_type is None or content_type.value.lower() != followee.topic.accept:
                raise ProtocolError(415, headers=(("Accept", followee.topic.accept),))
            if not followee.view.take(request.body, now):
                subscriber.refresh(now)
            if isinstance(followee.view, Telling):
                self._missed.heard(followee.topic.resource, followee.view.told())
            self._metrics.count("sip_notifies_received_total", event=followee.topic.event)
            self._write(followee)
        self._renamed(followee, call_id)
        self._arm()
        return respond(request, 200)

    def _write(self, followee: Followee) -> None:
        """One write at a time for each, so that what was said last stays."""
        followee.again = True
        if not followee.writing:
            followee.writing = True
            self._runtime.spawn(self._write_all(followee))

    async def _write_all(self, followee: Followee) -> None:
        try:
            while followee.again:
                followee.again = False
                await self._publish(followee)
        except Unavailable as error:
            log.warning("following_waits", error=str(error))
            self._runtime.call_later(_AGAIN, partial(self._write, followee))
        finally:
            followee.writing = False

    async def _publish(self, followee: Followee) -> None:
        address = followee.topic.resource
        now = self._runtime.now()
        sources = [replace(source, id=followee.name + source.id) for source in followee.view.sources(now)]
        until = max(followee.subscriber.until, now) + _GRACE
        (snapshot,) = await self._service.snapshots([address])
        named = {source.id for source in sources}
        gone = tuple(s.id for s in snapshot.sources if s.id.startswith(followee.name) and s.id not in named)
        writes = tuple(SourceWrite(source=source, lease=Lease(expires=until)) for source in sources)
        if writes or gone:
            await self._service.publish(
                address, Update(put_sources=writes, drop_sources=gone), self._service.new_trace()
            )

    def sessions(self) -> list[dict[str, Any]]:
        """For `tandem sessions`."""
        return [
            {
                "address": str(followee.topic.resource),
                "kind": "sip following",
                "package": followee.topic.event,
                "peer": followee.topic.server,
                "state": "active" if followee.subscriber.until > self._runtime.now() else "waiting",
                "expires": followee.subscriber.until,
            }
            for followee in self._followed.values()
        ]


def _address(text: str) -> Address | None:
    try:
        return parse_address(text) if text else None
    except InvalidAddress:
        return None
