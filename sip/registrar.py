"""The registrar and location service (RFC 3261 §10.3): bindings on the bus, and their flows in this process.

Each REGISTER is one atomic update of its account: the bindings' cell, a source and an endpoint per phone. The
200 goes out when the bus has it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from email.utils import formatdate
from functools import partial
from typing import Any

import structlog
from msgspec.structs import replace

from presence.address import Address
from presence.errors import Conflict, Unavailable
from presence.ports import (
    Cell,
    CellWrite,
    Committed,
    Endpoint,
    EndpointKind,
    Lease,
    Metrics,
    SourceWrite,
    Update,
)
from presence.service import PresenceService
from sip.addressing import call_info, to_address
from sip.bindings import (
    NO_PUSH,
    Binding,
    Registered,
    contact_headers,
    decode_bindings,
    encode_bindings,
    flows_of,
    offers,
    presence_of,
    register,
)
from sip.errors import ProtocolError
from sip.flow import Flow
from sip.gruu import Sealer, endpoint_of, public
from sip.message import Request, Response, respond
from sip.push import Pns, feature_caps, push_contact, queried
from sip.runtime import Runtime
from sip.settings import SipSettings
from sip.uri import Uri, parse_uri, request_uri
from sip.whereabouts import Located, Whereabouts

__all__ = ["CELL", "Located", "Registrar"]

log = structlog.get_logger()

CELL = "bindings"
_ATTEMPTS = 8
"Tries to write a cell that other processes write, too."
_FLOW_GRACE = 1.5
_GRACE = 2.0
"Seconds a lease outlasts what the phone was told, for its refresh to travel."


class Registrar:
    def __init__(
        self,
        settings: SipSettings,
        service: PresenceService,
        runtime: Runtime,
        metrics: Metrics,
        sealer: Sealer,
        services: Mapping[str, Pns] = NO_PUSH,
    ) -> None:
        """`services`: through which phones are woken, by `pn-provider`."""
        self._settings = settings
        self._service = service
        self._runtime = runtime
        self._metrics = metrics
        self._sealer = sealer
        self._services = services
        self._here = Whereabouts()
        self._cells: dict[Address, Cell] = {}
        """Last seen versions of the cells of accounts with phones here; writing finds out whether they
        still hold."""

    # --- REGISTER -------------------------------------------------------------------------------

    async def register(self, address: Address, request: Request, flow: Flow, trace: str) -> Response:
        """The 200 to an authenticated REGISTER. Raises `ProtocolError`, `Unavailable`."""
        now = self._runtime.now()
        told = queried(request, self._services)
        # What is only asked for is looked up; what is written shows by itself that it was known well.
        cell = self._cells.get(address) if request.contacts else None
        cell = cell or await self._service.cell(address, CELL)
        for _ in range(_ATTEMPTS):
            decided = register(
                decode_bindings(cell.data),
                request,
                flow=flow,
                owner=self._service.owner,
                now=now,
                settings=self._settings,
                services=self._services,
            )
            if not decided.put and not decided.dropped:
                break
            try:
                await self._commit(address, cell, decided, trace)
                break
            except Conflict:
                cell = await self._service.cell(address, CELL)
        else:
            raise Unavailable("the bindings change too fast")
        self._log(address, decided, flow, trace)
        gruus = partial(self._gruus, address) if offers(request, "gruu") else lambda _: ""
        headers = [*contact_headers(decided.bindings, now, gruus), ("Date", formatdate(now, usegmt=True))]
        headers.append(("Call-Info", call_info(address)))
        headers += [("Path", path) for path in request.headers.fields("Path")]
        headers += [("Service-Route", f"<{route}>") for route in self._settings.service_route]
        if decided.outbound:
            headers.append(("Require", "outbound"))
            if self._settings.flow_timer and any(self._timed(b, flow) for b in decided.put):
                headers.append(("Flow-Timer", str(self._settings.flow_timer)))
        woken = (push_contact(parse_uri(binding.contact)) for binding in decided.put if binding.wakes)
        told += tuple(named.provider for named in woken if named is not None)
        headers += feature_caps(told, request, self._services) if told else []
        return respond(request, 200, headers=headers)

    def _gruus(self, address: Address, binding: Binding) -> str:
        """Contact parameters (RFC 5627 §5.2)."""
        if not binding.instance:
            return ""
        temporary = self._sealer.temporary(address, binding)
        return f';pub-gruu="{public(address, binding)}";temp-gruu="{temporary}"'

    def _timed(self, binding: Binding, flow: Flow) -> bool:
        """It was told how often it has to say that it is there: on a connection to us (RFC 5626 §6).
        WebSockets have pings of their own, and over UDP its own interval is the right one (§4.4.2)."""
        return binding.outbound and not binding.path and flow.transport in ("tcp", "tls")

    async def _commit(self, address: Address, cell: Cell, decided: Registered, trace: str) -> Committed:
        data = encode_bindings(decided.bindings)
        touched = dict.fromkeys(b.id for b in (*decided.put, *decided.dropped))
        phones = {id: flows_of(decided.bindings, id) for id in touched}
        there = [(flows, self._lease(flows)) for flows in phones.values() if flows]
        gone = [phone for phone, flows in phones.items() if not flows]
        committed = await self._service.publish(
            address,
            Update(
                put_sources=tuple(
                    SourceWrite(source=presence_of(flows), lease=lease) for flows, lease in there
                ),
                drop_sources=tuple(f"sip-reg:{phone}" for phone in gone),
                put_endpoints=tuple(
                    Endpoint(
                        id=flows[0].endpoint, kind=EndpointKind.SIP, node=self._node(flows[0]), lease=lease
                    )
                    for flows, lease in there
                ),
                drop_endpoints=tuple(f"sip:{phone}" for phone in gone),
                cells=(CellWrite(name=CELL, expect=cell.version, data=data),),
            ),
            trace,
        )
        for binding in decided.dropped:
            self._here.drop(address, binding)
        for binding in decided.put:
            if self._leads_somewhere(binding):
                self._here.put(address, binding)
            else:
                self._here.drop(address, binding)
        if address in self._here:
            self._cells[address] = Cell(cell.version + 1 if data else 0, data)
        else:
            self._cells.pop(address, None)
        came = any(binding.registered == binding.refreshed for binding in decided.put)
        if not committed.changed and (came or decided.dropped):
            # Another flow of the same phone: nothing for who watches presence (RFC 3680 §4.7.1).
            self._runtime.spawn(self._tell(address))
        return committed

    async def _tell(self, address: Address) -> None:
        try:
            await self._service.kept_changed(address)
        except Unavailable as error:
            log.info("registrations_not_told", address=str(address), error=str(error))

    def _lease(self, flows: Sequence[Binding]) -> Lease:
        """Of a phone: until its last flow expires, and bound to the process that holds all of them. One that
        can be woken outlives its connections (RFC 8599 §1)."""
        owners = {"" if b.wakes else b.owner for b in flows}
        return Lease(
            expires=max(b.expires for b in flows) + _GRACE, owner=owners.pop() if len(owners) == 1 else ""
        )

    def _node(self, binding: Binding) -> str:
        """Who can reach it: the process that holds its connection; over UDP all that share the port can."""
        return binding.owner.partition("/")[0] or self._service.node

    def _leads_somewhere(self, binding: Binding) -> bool:
        """A connection that ended with its process is no way to anybody, another's is none of ours."""
        return not binding.asleep and binding.owner in ("", self._service.owner)

    def _log(self, address: Address, decided: Registered, flow: Flow, trace: str) -> None:
        for binding in decided.put:
            if binding.registered == binding.refreshed:
                log.info(
                    "phone_registered",
                    address=str(address),
                    endpoint=binding.endpoint,
                    transport=flow.transport,
                    peer=flow.remote,
                    agent=binding.agent,
                    trace=trace,
                )
        left = {binding.id for binding in decided.bindings}
        for binding in decided.dropped:
            if binding.id in left:
                continue
            log.info("phone_unregistered", address=str(address), endpoint=binding.endpoint, trace=trace)

    # --- where phones are -----------------------------------------------------------------------

    def here(self, address: Address, endpoint: str) -> Located | None:
        """The best way to a phone, if this process knows one."""
        return next(iter(self._ways(address, endpoint)), None)

    def _ways(self, address: Address, endpoint: str) -> list[Located]:
        flows = self._here.flows(address, endpoint)
        oldest = self._runtime.now() - _GRACE
        expired = [located for located in flows if located.binding.expires <= oldest]
        for located in expired:
            self._forget(address, located.binding)
        return [located for located in flows if located not in expired] if expired else flows

    def _forget(self, address: Address, binding: Binding) -> None:
        self._here.drop(address, binding)
        if address not in self._here:
            self._cells.pop(address, None)

    async def find(self, address: Address, endpoint: str) -> Located | None:
        """As `here`, but looks on the bus: a UDP phone that registered before this process started, or
        one whose registration the bus has and this process is about to hear of."""
        located = self.here(address, endpoint)
        if located is not None:
            return located
        cell = await self._service.cell(address, CELL)
        bindings = decode_bindings(cell.data)
        now = self._runtime.now()
        flows = [b for b in bindings if b.endpoint == endpoint and b.expires > now]
        for binding in flows:
            if self._leads_somewhere(binding):
                self._here.put(address, binding)
        located = self.here(address, endpoint)
        if located is None:
            dead = [b for b in flows if b.owner.partition("/")[0] == self._service.node]
            for binding in dead if len(dead) < len(flows) else ():
                # Its way through an earlier life of this process is no more, but another process has one.
                await self._drop(address, binding)
        return located

    async def is_registered(self, address: Address, fits: Callable[[Binding], bool]) -> bool:
        """Some phone of the account, here or at another process, is what is asked for."""
        if any(fits(located.binding) for located in self._here.of(address)):
            return True
        now = self._runtime.now()
        bindings = decode_bindings((await self._service.cell(address, CELL)).data)
        return any(binding.expires > now and fits(binding) for binding in bindings)

    def doubt(self, located: Located) -> None:
        """Nobody answered on a flow: the phone's others are tried first from now on."""
        self._here.doubt(located.flow)

    async def lost(self, address: Address, located: Located) -> None:
        """A flow is no more (430, RFC 5626 §7)."""
        await self._drop(address, located.binding)

    def another(self, address: Address, endpoint: str, tried: Collection[Flow]) -> Located | None:
        """A way to the phone that was not tried."""
        return next((way for way in self._ways(address, endpoint) if way.flow not in tried), None)

    def others_of(self, flow: Flow) -> list[tuple[Address, Located]]:
        """Where else the phones are reached that are reached on a flow."""
        found = []
        for address, located in self._here.on(flow):
            other = self.another(address, located.binding.endpoint, (flow,))
            if other is not None:
                found.append((address, other))
        return found

    def phones(self, address: Address) -> list[Located]:
        """All ways to an account's phones."""
        endpoints = dict.fromkeys(located.binding.endpoint for located in self._here.of(address))
        return [located for endpoint in endpoints for located in self._ways(address, endpoint)]

    def speaking(self, address: Address, flow: Flow, origin: str = "") -> Located | None:
        """Which phone of the account sent something: the one on this flow, else the only one at that host.
        `origin`: where a proxy before us has it from (`sip.topology.origin_of`)."""
        if origin:
            return _behind(self.phones(address), origin)
        if address not in self._here:
            return None
        for owner, located in self._here.on(flow):
            if owner == address and located.binding.expires + _GRACE > self._runtime.now():
                return located
        ways = self.phones(address)
        same_host = {way.binding.endpoint: way for way in reversed(ways) if way.flow.host == flow.host}
        return next(iter(same_host.values())) if len(same_host) == 1 else None

    def stream(self, address: Address, located: Located) -> Located | None:
        """Another way to the same phone that can carry long messages: same instance, or same host."""
        for other in self.phones(address):
            if other.flow != located.flow and other.flow.reliable and _same_device(other, located):
                return other
        return None

    def stream_of(self, address: Address, flow: Flow) -> Flow | None:
        """A connection of the phone that speaks on a UDP flow."""
        located = self.speaking(address, flow)
        if located is None or located.flow.reliable:
            return located.flow if located is not None else None
        other = self.stream(address, located)
        return other.flow if other is not None else None

    def connection_to(self, address: Address, target: Uri) -> Flow | None:
        """That of the account's phone here whose Contact that is; its port may be another by now."""
        for located in self.phones(address):
            here = parse_uri(located.binding.contact)
            meant = self.contact_of(address, target, located.flow)
            if located.flow.reliable and (meant.user, meant.host) == (here.user, here.host):
                return located.flow
        return None

    async def target(self, uri: Uri) -> tuple[Address, str]:
        """Whom a Request-URI names, and which of their endpoints; the latter empty for all. Raises
        `ProtocolError` 404, also for a temporary GRUU that is over (RFC 5627 §5.3)."""
        temporary = self._sealer.read(uri)
        if temporary is not None:
            if not await self.is_registered(temporary.address, temporary.holds):
                raise ProtocolError(404)
            return temporary.address, f"sip:{temporary.phone}"
        address, endpoint = to_address(uri), endpoint_of(uri)
        if not address.local or not self._service.reaches(address.domain):
            raise ProtocolError(404)
        return address, endpoint

    async def must_be_there(self, address: Address, endpoint: str) -> None:
        """For who may know. Raises `ProtocolError` 480 for a phone that is not registered now (RFC 5627
        §5.3)."""
        is_meant = partial(_is_at, endpoint)
        if endpoint.startswith("sip:") and not await self.is_registered(address, is_meant):
            raise ProtocolError(480)

    def contact_of(self, address: Address, target: Uri, flow: Flow) -> Uri:
        """What a phone is called on a flow that gave its own GRUU as Contact; any other target as it is."""
        if target.parameter("gr") is None or not self._service.serves(target.host):
            return target
        endpoint, now = endpoint_of(target), self._runtime.now()
        temporary = None if endpoint else self._sealer.read(target)
        for located in self._here.of(address):
            binding = located.binding
            meant = temporary.holds(binding) if temporary is not None else binding.endpoint == endpoint
            if meant and located.flow == flow and binding.expires > now:
                return request_uri(binding.contact)
        return target

    def holds(self, flow: Flow) -> bool:
        """A phone is registered over this flow."""
        return self._here.holds(flow)

    def patience(self, flow: Flow) -> float | None:
        """Seconds a connection may be silent that phones are registered over: some time longer than they were
        told (RFC 5626 §5.4). None: as long as it likes."""
        timer = self._settings.flow_timer
        timed = timer and any(self._timed(located.binding, flow) for _, located in self._here.on(flow))
        return timer * _FLOW_GRACE if timed else None

    # --- ends -----------------------------------------------------------------------------------

    async def flow_lost(self, flow: Flow) -> None:
        """The connection broke: who is reached over it has one way less, or is gone (and registers again over
        a new one)."""
        for address, located in self._here.on(flow):
            await self._drop(address, located.binding)

    async def sleeper(self, address: Address, endpoint: str) -> Binding | None:
        """A phone that no way leads to now, and that can be woken."""
        if not self._services:
            return None
        now = self._runtime.now()
        bindings = decode_bindings((await self._service.cell(address, CELL)).data)
        fitting = (b for b in bindings if b.endpoint == endpoint and b.wakes and b.expires > now)
        return next(fitting, None)

    async def fell_asleep(self, address: Address, id: str) -> Binding | None:
        """A phone that can be woken, after an earlier life of this process: its connection is no more. As it
        is now; None where there is no such phone."""
        bindings = decode_bindings((await self._service.cell(address, CELL)).data)
        now = self._runtime.now()
        flows = [b for b in flows_of(bindings, id) if b.wakes and b.expires > now]
        for binding in flows:
            node, _, _ = binding.owner.partition("/")
            if node == self._service.node and not self._leads_somewhere(binding):
                await self._drop(address, binding)
        return flows[0] if flows else None

    async def unpush(self, address: Address, gone: Binding) -> None:
        """Its push service does not know the phone any more (RFC 8599 §4.1.1): it is not woken again, and
        not registered any more if it sleeps."""
        for _ in range(_ATTEMPTS):
            cell = await self._service.cell(address, CELL)
            bindings = decode_bindings(cell.data)
            now = next((b for b in bindings if _same_flow(b, gone) and b.contact == gone.contact), None)
            if now is None or not now.wakes:
                return
            rest = tuple(b for b in bindings if b is not now)
            kept = () if now.asleep else (replace(now, wakes=False),)
            decided = Registered((*rest, *kept), kept, () if kept else (now,))
            try:
                await self._commit(address, cell, decided, self._service.new_trace())
            except Conflict:
                continue
            log.info("phone_not_woken", address=str(address), endpoint=gone.endpoint)
            return

    async def _drop(self, address: Address, lost: Binding) -> None:
        """A way to a phone is no more. If it was the last one, and the phone can be woken, it sleeps."""
        trace = self._service.new_trace()
        cell = self._cells.get(address) or await self._service.cell(address, CELL)
        for _ in range(_ATTEMPTS):
            bindings = decode_bindings(cell.data)
            if not any(_same_flow(b, lost) for b in bindings):
                # It has registered again elsewhere meanwhile.
                if any(_same_flow(located.binding, lost) for located in self._here.of(address)):
                    self._forget(address, lost)
                return
            rest = tuple(b for b in bindings if b.name != lost.name)
            others = [b for b in rest if b.id == lost.id and not b.asleep]
            sleeps = lost.wakes and not others
            asleep = (replace(lost, owner="", asleep=self._runtime.now()),) if sleeps else ()
            decided = Registered((*rest, *asleep), asleep, () if sleeps else (lost,))
            try:
                await self._commit(address, cell, decided, trace)
            except Conflict:
                cell = await self._service.cell(address, CELL)
            else:
                event = "phone_asleep" if sleeps else "phone_flow_lost" if others else "phone_lost"
                log.info(event, address=str(address), endpoint=lost.endpoint, trace=trace)
                return

    async def restate(self) -> None:
        """Put every binding known here once more: the bus may have lost what was written last."""
        now = self._runtime.now()
        for address in self._here.addresses():
            mine = {located.binding.name: located.binding for located in self.phones(address)}
            for _ in range(_ATTEMPTS):
                cell = await self._service.cell(address, CELL)
                kept = {b.name: b for b in decode_bindings(cell.data) if b.expires > now}
                newer = {k: b for k, b in mine.items() if k not in kept or kept[k].refreshed <= b.refreshed}
                if not newer:
                    break
                merged = tuple((kept | newer).values())
                try:
                    trace = self._service.new_trace()
                    await self._commit(address, cell, Registered(merged, tuple(newer.values())), trace)
                    break
                except Conflict:
                    continue

    def forget(self, address: Address) -> list[Flow]:
        """The account is gone. Returns the flows its phones were on."""
        ways = self._here.of(address)
        for located in ways:
            self._forget(address, located.binding)
        return [located.flow for located in ways]

    async def account_gone(self, address: Address) -> None:
        """Its bindings and published documents end, whichever process took them."""
        trace = self._service.new_trace()
        for _ in range(_ATTEMPTS):
            cell = await self._service.cell(address, CELL)
            (snapshot,) = await self._service.snapshots([address])
            bindings = decode_bindings(cell.data)
            sources = tuple(source.id for source in snapshot.sources if source.id.startswith("sip"))
            if not bindings and not sources:
                return
            cells = (CellWrite(name=CELL, expect=cell.version, data=b""),) if bindings else ()
            update = Update(
                drop_sources=sources, drop_endpoints=tuple({b.endpoint for b in bindings}), cells=cells
            )
            try:
                await self._service.publish(address, update, trace)
            except Conflict:
                continue
            log.info("phones_shut_out", address=str(address), phones=len(bindings), trace=trace)
            return

    def prune(self) -> None:
        """Forget what has expired."""
        for address in self._here.addresses():
            self.phones(address)

    def __len__(self) -> int:
        return sum(1 for _ in self._here)

    def sessions(self) -> list[dict[str, Any]]:
        """For `tandem sessions`."""
        return [
            {
                "address": str(address),
                "kind": "sip binding",
                "since": located.binding.registered,
                "endpoint": located.binding.endpoint,
                "transport": located.flow.transport,
                "peer": located.flow.remote,
                "expires": located.binding.expires,
                "agent": located.binding.agent,
            }
            for address, located in self._here
        ]


def _behind(ways: list[Located], origin: str) -> Located | None:
    """The phone a proxy has a request from: by address and port, else the only one at that address, else the
    only one there is."""
    for key in (origin, origin.rpartition(":")[0] + ":"):
        found = [each for each in ways if each.binding.origin.startswith(key)]
        if found:
            return found[0] if key == origin or _one_phone(found) else None
    return ways[0] if _one_phone(ways) else None


def _one_phone(ways: list[Located]) -> bool:
    return len({way.binding.endpoint for way in ways}) == 1


def _is_at(endpoint: str, binding: Binding) -> bool:
    return binding.endpoint == endpoint


def _same_flow(one: Binding, other: Binding) -> bool:
    return (one.name, one.flow, one.owner) == (other.name, other.flow, other.owner)


def _same_device(one: Located, other: Located) -> bool:
    if one.binding.instance or other.binding.instance:
        return one.binding.instance == other.binding.instance
    return _host(one) == _host(other)


def _host(located: Located) -> str:
    """Where a phone is, as far as anybody knows."""
    return located.binding.origin.rpartition(":")[0] or located.flow.host
