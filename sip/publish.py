"""Publications: event state that phones leave with the server (RFC 3903).

A publication is a source of its account, named by the stable first part of its entity-tag. It is tied to the
registration of the phone that sent it: a phone that is gone says nothing any more, however long its
document was to last. One that came before its REGISTER is tied when that arrives.
"""

from __future__ import annotations

import hashlib
import secrets
from enum import Enum

import structlog
from msgspec.structs import replace

from presence.address import Address
from presence.errors import StaleTag
from presence.model import Source
from presence.ports import Lease, Metrics, SourceWrite, Update
from presence.service import PresenceService
from sip.bindings import Binding
from sip.calls import Calls
from sip.errors import ProtocolError
from sip.flow import Flow
from sip.grammar import language
from sip.message import Request, Response, respond
from sip.missed import MissedCalls
from sip.packages import Package, allow_events, packages
from sip.registrar import Registrar
from sip.runtime import Runtime
from sip.settings import SipSettings
from sip.topology import origin_of

log = structlog.get_logger()

SOURCE = "sip-pub:"


class Operation(Enum):
    """RFC 3903 §4.1, table 1."""

    INITIAL = "initial"
    REFRESH = "refresh"
    MODIFY = "modify"
    REMOVE = "remove"


def operation(*, body: bool, tag: bool, expires: int) -> Operation:
    """What a PUBLISH wants. Raises `ProtocolError` 400 when it has neither a body nor a tag."""
    if tag:
        if expires == 0:
            return Operation.REMOVE
        return Operation.MODIFY if body else Operation.REFRESH
    if not body:
        raise ProtocolError(400, "PUBLISH without Body or SIP-If-Match")
    return Operation.INITIAL


class Publisher:
    """The event state compositor's entrance."""

    def __init__(
        self,
        settings: SipSettings,
        service: PresenceService,
        registrar: Registrar,
        runtime: Runtime,
        metrics: Metrics,
        missed: MissedCalls,
    ) -> None:
        self._settings = settings
        self._service = service
        self._registrar = registrar
        self._runtime = runtime
        self._metrics = metrics
        self._missed = missed
        self._calls = Calls(settings.max_call_expires)

    async def publish(self, address: Address, request: Request, flow: Flow, trace: str) -> Response:
        """The 200 to an authenticated PUBLISH for one's own address (RFC 3903 §6). Raises `ProtocolError`,
        `Unavailable`; nothing was changed then."""
        package = self._package(request)
        expires = self._expires(request, package)
        tag = (request.headers.get("SIP-If-Match") or "").strip()
        what = operation(body=bool(request.body), tag=bool(tag), expires=expires)
        now = self._runtime.now()
        try:
            match what:
                case Operation.REMOVE:
                    given = await self._remove(address, tag, trace)
                case Operation.REFRESH:
                    given = await self._refresh(address, tag, expires, request, flow, now, trace)
                case Operation.MODIFY:
                    source = self._source(package, address, request, flow, now, _name(tag))
                    given = await self._write(address, source, expires, now, trace, expect=tag)
                case Operation.INITIAL:
                    # A phone has one set of calls: publishing them anew replaces what it said before.
                    which = "calls" if package.brief else secrets.token_hex(4)
                    name = f"{_mark(flow, origin_of(request))}-{which}"
                    source = self._source(package, address, request, flow, now, name)
                    given = await self._initial(address, source, expires, now, trace)
        except StaleTag:
            raise ProtocolError(412) from None
        self._metrics.count("sip_publications_total", operation=what.value)
        return respond(request, 200, headers=[("Expires", str(expires)), ("SIP-ETag", given)])

    # --- what is asked for ----------------------------------------------------------------------

    def _package(self, request: Request) -> Package:
        event = request.event
        package = packages().get(event.package) if event is not None else None
        if package is None or not package.published:
            raise ProtocolError(489, headers=(("Allow-Events", allow_events()),))
        if request.body:
            content_type = request.content_type
            if content_type is None or content_type.value not in package.published:
                raise ProtocolError(415, headers=(("Accept", ", ".join(package.published)),))
            encoding = (request.headers.get("Content-Encoding") or "identity").strip().lower()
            if encoding != "identity":
                raise ProtocolError(415, headers=(("Accept-Encoding", "identity"),))
        return package

    def _expires(self, request: Request, package: Package) -> int:
        """Seconds granted. A client that says nothing leaves it to us (RFC 3903 §6 step 5)."""
        expires = request.expires
        if expires is None:
            expires = self._settings.publish_expires
        if 0 < expires < self._settings.min_expires:
            raise ProtocolError(423, headers=(("Min-Expires", str(self._settings.min_expires)),))
        longest = self._settings.max_call_expires if package.brief else self._settings.max_expires
        return min(expires, longest)

    def _source(
        self, package: Package, address: Address, request: Request, flow: Flow, now: float, name: str
    ) -> Source:
        lang = language(request.headers.get("Content-Language") or "")
        published = package.parse(request.body, now, lang, self._settings.on_the_phone)
        if published.entity not in (None, address):
            raise ProtocolError(400, "Bad PIDF: its entity is someone else")
        person = published.person
        if published.calls is not None:
            person = self._calls.heard(address, name, published.calls.calls, now, full=published.calls.full)
            self._missed.heard(address, published.calls.calls)
        return Source(
            id=SOURCE + name,
            tuples=published.tuples,
            person=person,
            since=now,
            tied_to=self._tie(address, request, flow),
        )

    def _tie(self, address: Address, request: Request, flow: Flow) -> str:
        phone = self._registrar.speaking(address, flow, origin_of(request))
        return phone.binding.source if phone is not None else ""

    # --- what is done ---------------------------------------------------------------------------

    async def _initial(self, address: Address, source: Source, expires: int, now: float, trace: str) -> str:
        if expires == 0:
            # Published and expired in one: there is nothing to keep, and its tag will be unknown.
            return _new_tag(source.id, now)
        (snapshot,) = await self._service.snapshots([address])
        if sum(s.id.startswith(SOURCE) for s in snapshot.sources) >= self._settings.max_publications:
            raise ProtocolError(403, "Too Many Publications")
        return await self._write(address, source, expires, now, trace)

    async def _refresh(
        self, address: Address, tag: str, expires: int, request: Request, flow: Flow, now: float, trace: str
    ) -> str:
        (snapshot,) = await self._service.snapshots([address])
        wanted = SOURCE + _name(tag)
        known = next((s for s in snapshot.sources if s.id == wanted), None)
        if known is None:
            raise ProtocolError(412)
        source = replace(known, tied_to=self._tie(address, request, flow) or known.tied_to)
        return await self._write(address, source, expires, now, trace, expect=tag)

    async def _remove(self, address: Address, tag: str, trace: str) -> str:
        source = SOURCE + _name(tag)
        await self._service.publish(
            address, Update(drop_sources=(source,), expect_tags=((source, tag),)), trace
        )
        return _new_tag(source, 0.0)

    async def _write(
        self,
        address: Address,
        source: Source,
        expires: int,
        now: float,
        trace: str,
        expect: str | None = None,
    ) -> str:
        until = now + expires
        given = _new_tag(source.id, until)
        write = SourceWrite(source=source, lease=Lease(expires=until), tag=given, expect=expect)
        await self._service.publish(address, Update(put_sources=(write,)), trace)
        return given

    async def adopt(self, address: Address, binding: Binding, flow: Flow) -> None:
        """Tie what a phone published before it registered."""
        (snapshot,) = await self._service.snapshots([address])
        mark = f"{SOURCE}{_mark(flow, binding.origin)}-"
        writes = []
        for source in snapshot.sources:
            if source.tied_to or not source.id.startswith(mark):
                continue
            tag = await self._service.tag(address, source.id)
            until = _until(tag) if tag else None
            if tag and until:
                tied = replace(source, tied_to=binding.source)
                writes.append(SourceWrite(source=tied, lease=Lease(expires=until), tag=tag, expect=tag))
        for write in writes:
            try:
                await self._service.publish(address, Update(put_sources=(write,)))
            except StaleTag:
                log.debug("publication_changed_meanwhile", address=str(address), source=write.source.id)


def _mark(flow: Flow, origin: str) -> str:
    """By which publications of one phone are known before it has registered."""
    text = f"{flow.transport} {flow.host} {flow.port} {origin}"
    return hashlib.blake2b(text.encode(), digest_size=4).hexdigest()


def _name(tag: str) -> str:
    """The publication an entity-tag is of. Raises `ProtocolError` 412 for a tag that was never ours."""
    name = tag.partition(".")[0]
    if len(tag) > 64 or not name or not name.isascii():
        raise ProtocolError(412)
    return name


def _new_tag(source: str, until: float) -> str:
    """Unique for each success (RFC 3903 §6 step 6): the publication, the end of its lease, chance."""
    return f"{source.removeprefix(SOURCE)}.{int(until):x}.{secrets.token_hex(4)}"


def _until(tag: str) -> float | None:
    try:
        return float(int(tag.split(".")[1], 16))
    except (IndexError, ValueError):
        return None
