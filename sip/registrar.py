"""The registrar and location service (RFC 3261 §10.3): bindings on the bus, and their flows in this process.

Each REGISTER is one atomic update of its account: the bindings' cell, a source and an endpoint per phone. The
200 goes out when the bus has it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from email.utils import formatdate
from typing import Any

import structlog

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
from sip.bindings import Binding, Registered, contact_headers, decode_bindings, encode_bindings, register
from sip.flow import Flow, parse_flow
from sip.message import Request, Response, respond
from sip.runtime import Runtime
from sip.settings import SipSettings

log = structlog.get_logger()

CELL = "bindings"
_ATTEMPTS = 8
"Tries to write a cell that other processes write, too."
_GRACE = 2.0
"Seconds a lease outlasts what the phone was told, for its refresh to travel."


@dataclass(frozen=True, slots=True)
class Located:
    """A binding whose flow ends in this process."""

    binding: Binding
    flow: Flow


class Registrar:
    def __init__(
        self, settings: SipSettings, service: PresenceService, runtime: Runtime, metrics: Metrics
    ) -> None:
        self._settings = settings
        self._service = service
        self._runtime = runtime
        self._metrics = metrics
        self._here: dict[Address, dict[str, Located]] = {}
        "Account → endpoint id → where it is. What this process last saw; the cell is the truth."
        self._by_flow: dict[Flow, set[tuple[Address, str]]] = {}
        self._cells: dict[Address, Cell] = {}
        """Last seen versions of the cells of accounts with phones here; writing finds out whether they
        still hold."""

    # --- REGISTER -------------------------------------------------------------------------------

    async def register(self, address: Address, request: Request, flow: Flow, trace: str) -> Response:
        """The 200 to an authenticated REGISTER. Raises `ProtocolError`, `Unavailable`."""
        now = self._runtime.now()
        cell = self._cells.get(address) or await self._service.cell(address, CELL)
        for _ in range(_ATTEMPTS):
            decided = register(
                decode_bindings(cell.data),
                request,
                flow=flow,
                owner=self._service.owner,
                now=now,
                settings=self._settings,
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
        headers = [*contact_headers(decided.bindings, now), ("Date", formatdate(now, usegmt=True))]
        headers += [("Path", path) for path in request.headers.fields("Path")]
        return respond(request, 200, headers=headers)

    async def _commit(self, address: Address, cell: Cell, decided: Registered, trace: str) -> Committed:
        data = encode_bindings(decided.bindings)
        committed = await self._service.publish(
            address,
            Update(
                put_sources=tuple(
                    SourceWrite(source=b.presence(), lease=self._lease(b)) for b in decided.put
                ),
                drop_sources=tuple(b.source for b in decided.dropped),
                put_endpoints=tuple(
                    Endpoint(
                        id=b.endpoint, kind=EndpointKind.SIP, node=self._service.node, lease=self._lease(b)
                    )
                    for b in decided.put
                ),
                drop_endpoints=tuple(b.endpoint for b in decided.dropped),
                cells=(CellWrite(name=CELL, expect=cell.version, data=data),),
            ),
            trace,
        )
        for binding in decided.dropped:
            self._forget(address, binding.endpoint)
        for binding in decided.put:
            self._remember(address, binding)
        if address in self._here:
            self._cells[address] = Cell(cell.version + 1 if data else 0, data)
        else:
            self._cells.pop(address, None)
        return committed

    def _lease(self, binding: Binding) -> Lease:
        return Lease(expires=binding.expires + _GRACE, owner=binding.owner)

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
        for binding in decided.dropped:
            log.info("phone_unregistered", address=str(address), endpoint=binding.endpoint, trace=trace)

    # --- where phones are -----------------------------------------------------------------------

    def _remember(self, address: Address, binding: Binding) -> Located:
        self._forget(address, binding.endpoint)
        located = Located(binding, parse_flow(binding.flow))
        self._here.setdefault(address, {})[binding.endpoint] = located
        self._by_flow.setdefault(located.flow, set()).add((address, binding.endpoint))
        return located

    def _forget(self, address: Address, endpoint: str) -> None:
        phones = self._here.get(address, {})
        located = phones.pop(endpoint, None)
        if located is None:
            return
        if not phones:
            del self._here[address]
            self._cells.pop(address, None)
        on_flow = self._by_flow[located.flow]
        on_flow.discard((address, endpoint))
        if not on_flow:
            del self._by_flow[located.flow]

    def here(self, address: Address, endpoint: str) -> Located | None:
        """Where a phone is, if this process knows."""
        located = self._here.get(address, {}).get(endpoint)
        if located is not None and located.binding.expires + _GRACE <= self._runtime.now():
            self._forget(address, endpoint)
            return None
        return located

    async def find(self, address: Address, endpoint: str) -> Located | None:
        """As `here`, but looks on the bus: a UDP phone that registered before this process started, or
        one whose registration the bus has and this process is about to hear of."""
        located = self.here(address, endpoint)
        if located is not None:
            return located
        now = self._runtime.now()
        cell = await self._service.cell(address, CELL)
        for binding in decode_bindings(cell.data):
            # A connection that ended with its process is no way to anybody.
            alive = binding.owner in ("", self._service.owner)
            if binding.endpoint == endpoint and binding.expires > now and alive:
                return self._remember(address, binding)
        return None

    def phones(self, address: Address) -> list[Located]:
        return [found for key in list(self._here.get(address, ())) if (found := self.here(address, key))]

    def speaking(self, address: Address, flow: Flow, origin: str = "") -> Located | None:
        """Which phone of the account sent something: the one on this flow, else the only one at that host.
        `origin`: where a proxy before us has it from (`sip.topology.origin_of`)."""
        phones = self.phones(address)
        if origin:
            return _behind(phones, origin)
        for located in phones:
            if located.flow == flow:
                return located
        same_host = [located for located in phones if located.flow.host == flow.host]
        return same_host[0] if len(same_host) == 1 else None

    def stream(self, located: Located) -> Located | None:
        """Another way to the same phone that can carry long messages: same instance, or same host."""
        for address, endpoint in self._addresses_of(located):
            for other in self.phones(address):
                if (
                    other.binding.endpoint != endpoint
                    and other.flow.reliable
                    and _same_device(other, located)
                ):
                    return other
        return None

    def stream_of(self, address: Address, flow: Flow) -> Flow | None:
        """A connection of the phone that speaks on a UDP flow."""
        located = self.speaking(address, flow)
        if located is None or located.flow.reliable:
            return located.flow if located is not None else None
        other = self.stream(located)
        return other.flow if other is not None else None

    def _addresses_of(self, located: Located) -> Iterable[tuple[Address, str]]:
        return tuple(self._by_flow.get(located.flow, ()))

    def holds(self, flow: Flow) -> bool:
        """A phone is registered over this flow."""
        return flow in self._by_flow

    # --- ends -----------------------------------------------------------------------------------

    async def flow_lost(self, flow: Flow) -> None:
        """The connection broke: its phones are gone (they register again over a new one)."""
        for address, endpoint in tuple(self._by_flow.get(flow, ())):
            located = self._here.get(address, {}).get(endpoint)
            if located is not None and located.flow == flow:
                await self._drop(address, located.binding)

    async def _drop(self, address: Address, lost: Binding) -> None:
        trace = self._service.new_trace()
        cell = self._cells.get(address) or await self._service.cell(address, CELL)
        for _ in range(_ATTEMPTS):
            bindings = decode_bindings(cell.data)
            if not any(b.id == lost.id and b.flow == lost.flow and b.owner == lost.owner for b in bindings):
                # It has registered again elsewhere meanwhile.
                self._forget(address, lost.endpoint)
                return
            rest = tuple(b for b in bindings if b.id != lost.id)
            try:
                await self._commit(address, cell, Registered(rest, (), (lost,)), trace)
            except Conflict:
                cell = await self._service.cell(address, CELL)
            else:
                log.info("phone_lost", address=str(address), endpoint=lost.endpoint, trace=trace)
                return

    async def restate(self) -> None:
        """Put every binding known here once more: the bus may have lost what was written last."""
        now = self._runtime.now()
        for address in list(self._here):
            mine = {located.binding.id: located.binding for located in self.phones(address)}
            for _ in range(_ATTEMPTS):
                cell = await self._service.cell(address, CELL)
                kept = {b.id: b for b in decode_bindings(cell.data) if b.expires > now}
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
        flows = [located.flow for located in self._here.get(address, {}).values()]
        for endpoint in list(self._here.get(address, ())):
            self._forget(address, endpoint)
        return flows

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
                drop_sources=sources, drop_endpoints=tuple(b.endpoint for b in bindings), cells=cells
            )
            try:
                await self._service.publish(address, update, trace)
            except Conflict:
                continue
            log.info("phones_shut_out", address=str(address), phones=len(bindings), trace=trace)
            return

    def prune(self) -> None:
        """Forget what has expired."""
        for address in list(self._here):
            self.phones(address)

    def __len__(self) -> int:
        return sum(map(len, self._here.values()))

    def sessions(self) -> list[dict[str, Any]]:
        """For `tandem sessions`."""
        return [
            {
                "address": str(address),
                "kind": "sip binding",
                "since": located.binding.registered,
                "endpoint": endpoint,
                "transport": located.flow.transport,
                "peer": located.flow.remote,
                "expires": located.binding.expires,
                "agent": located.binding.agent,
            }
            for address, phones in self._here.items()
            for endpoint, located in phones.items()
        ]


def _behind(phones: list[Located], origin: str) -> Located | None:
    """The phone a proxy has a request from: by address and port, else the only one at that address, else the
    only one there is."""
    for key in (origin, origin.rpartition(":")[0] + ":"):
        found = [each for each in phones if each.binding.origin.startswith(key)]
        if found:
            return found[0] if key == origin or len(found) == 1 else None
    return phones[0] if len(phones) == 1 else None


def _same_device(one: Located, other: Located) -> bool:
    if one.binding.instance or other.binding.instance:
        return one.binding.instance == other.binding.instance
    return one.flow.host == other.flow.host
