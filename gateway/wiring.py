"""Building one process from the settings: bus, store, accounts, service, door. Nothing is decided here."""

from __future__ import annotations

import asyncio
import secrets
import ssl
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import structlog

from gateway import certs
from gateway.config import ConfigError, Role, Settings
from gateway.metrics import DictMetrics
from gateway.web import WebServer
from presence.archiver import Archiver
from presence.edge.accounts import open_accounts
from presence.edge.archive import SqlArchive
from presence.edge.embedded import socket_path
from presence.edge.guard import RedisGuard
from presence.edge.redis import RedisBus
from presence.edge.room_store import SqlRooms
from presence.edge.rooms import RedisRooms
from presence.edge.sql import SqlStore
from presence.history import History
from presence.ports import Accounts, Bus, Door, Store, Web
from presence.rooms.service import Rooms
from presence.service import PresenceService

log = structlog.get_logger()


def make_state_dir(settings: Settings) -> None:
    """Raises `ConfigError`."""
    try:
        settings.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError([f"state_dir: {error.filename}: {error.strerror}"]) from error


def certificate_problems(settings: Settings) -> Iterator[str]:
    """Certificates that cannot be shown, by the settings that name them."""
    pairs = {"tls": (settings.certificate, settings.key)}
    pairs |= {f"tls.domains.{name}": files for name, files in settings.named_certificates.items()}
    for setting, files in pairs.items():
        try:
            certs.verify(*files)
        except certs.CertificateError as error:
            yield f"{setting}.certificate, {setting}.key: {error}"


def prepare(settings: Settings) -> None:
    """The state directory and, where none is configured, a certificate. Raises `ConfigError`."""
    make_state_dir(settings)
    try:
        if settings.tls.certificate is None and certs.ensure_self_signed(
            settings.certificate, settings.key, settings.domains
        ):
            log.info("certificate_made", file=str(settings.certificate), domains=",".join(settings.domains))
    except OSError as error:
        raise ConfigError([f"state_dir: {error.filename}: {error.strerror}"]) from error
    if unusable := list(certificate_problems(settings)):
        raise ConfigError(unusable)
    if settings.processes.sip and (problems := push_problems(settings, make=True)):
        raise ConfigError(problems)


def push_problems(settings: Settings, *, make: bool = False) -> list[str]:
    """Of the key web push services know this server by, and the files that are named. `make`: a key that is
    none of the operator's where there is none yet."""
    push, key = settings.sip.push, settings.vapid_key
    named: list[tuple[str, Callable[[], object]]] = []
    if push.webpush and (push.vapid_key is not None or make or key.exists()):
        named.append(("vapid_key", lambda: certs.ensure_key(key, make=push.vapid_key is None)))
    if push.gateway_token_file is not None:
        named.append(("gateway_token_file", partial(_check_token, push.gateway_token_file)))
    if push.authorities:
        named.append(("authorities", lambda: ssl.create_default_context(cafile=push.authorities)))
    found = []
    for name, try_it in named:
        try:
            try_it()
        except (OSError, ValueError, certs.CertificateError) as error:
            found.append(f"sip.push.{name}: {error}")
    return found


def _check_token(file: Path) -> None:
    """Raises `OSError`, `ValueError`."""
    if not file.read_text("ascii").strip().isprintable():
        raise ValueError(f"{file}: one line is wanted")


def valkey_dir(settings: Settings) -> Path:
    """Where the embedded Valkey keeps its data."""
    return settings.state_dir.absolute() / "valkey"


def uploads_dir(settings: Settings) -> Path:
    """Where shared files are."""
    return settings.xmpp.upload.directory or settings.state_dir / "uploads"


def bus_url(settings: Settings) -> str:
    """The configured server, or the embedded one's socket."""
    return settings.bus.url or f"unix://{socket_path(valkey_dir(settings))}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """What every role, and some commands, stand on."""

    node: str
    incarnation: str
    connect: Callable[[], Awaitable[None]]
    """Opens the bus; to be called once. Raises `Unavailable` when it is not there yet; it is then tried
    again for ever."""
    bus: Bus
    store: Store
    accounts: Accounts
    metrics: DictMetrics
    service: PresenceService
    archiver: Archiver | None = None
    "Writes the message archive; None when nothing is archived."

    async def close(self) -> None:
        """Give connections back."""
        await self.accounts.close()
        await self.store.close()
        await self.bus.close()


def backend(settings: Settings, node: str) -> Backend:
    """Connects to nothing yet. To be called inside a running loop."""
    incarnation = secrets.token_hex(4)
    metrics = DictMetrics()
    kept = settings.archive.enabled
    bus = RedisBus(bus_url(settings), name=node, archive_limit=settings.archive.backlog if kept else 0)
    store = SqlStore(settings.store_url)
    archive = SqlArchive(store.database)
    accounts = open_accounts(settings.accounts, store, settings.reserved)
    rooms = Rooms(
        node=node,
        owner=f"{node}/{incarnation}",
        policy=settings.rooms.policy(frozenset(settings.domains), archive=kept),
        bus=RedisRooms(bus),
        store=SqlRooms(store.database),
        clock=time.time,
        secret=lambda: secrets.token_bytes(16),
        lock=asyncio.Lock,
    )
    service = PresenceService(
        node=node,
        incarnation=incarnation,
        domains=frozenset(settings.domains),
        bus=bus,
        store=store,
        accounts=accounts,
        metrics=metrics,
        clock=time.time,
        phone_policy=settings.policy.phone,
        polite=settings.policy.blocked == "polite",
        composition=settings.policy.composition,
        history=History(bus, archive, store) if kept else None,
        rooms=rooms if settings.rooms.enabled else None,
        neighbours=frozenset(each.domain for each in settings.xmpp.components),
        guard=RedisGuard(
            bus,
            settings.accounts.guard.rules,
            settings.accounts.guard.exempt,
            clock=time.time,
            metrics=metrics,
        ),
    )
    archiver = Archiver(
        holder=f"{node}/{incarnation}",
        domains=frozenset(settings.domains) | rooms.policy.domains.keys(),
        bus=bus,
        archive=archive,
        store=store,
        metrics=metrics,
        clock=time.time,
        days=settings.archive.days or None,
    )
    return Backend(
        node=node,
        incarnation=incarnation,
        connect=bus.start,
        bus=bus,
        store=store,
        accounts=accounts,
        metrics=metrics,
        service=service,
        archiver=archiver if kept else None,
    )


# A process imports the code of its own door only.


def _xmpp(settings: Settings, made: Backend) -> Door:
    from sip.addressing import to_uri
    from xmpp.edge.door import XmppDoor
    from xmpp.extensions.rfc_7081_cusax import SipNames

    named = settings.xmpp.sip_in_vcards
    calls = named == "calls" or (named == "auto" and settings.sip.behind_proxy)
    reached = settings.processes.sip and named != "no"

    return XmppDoor(
        settings.xmpp,
        domains=settings.domains,
        service=made.service,
        accounts=made.accounts,
        metrics=made.metrics,
        certificate=settings.certificate,
        key=settings.key,
        named=settings.named_certificates,
        uploads=uploads_dir(settings),
        sockets=settings.state_dir.absolute() / "web",
        share_ports=settings.processes.xmpp > 1,
        sip=SipNames(to_uri, calls) if reached else None,
    )


def _sip(settings: Settings, made: Backend) -> Door:
    from presence.edge.uploads import DirectoryUploads
    from sip.edge.door import SipDoor
    from xmpp.web import files_at

    xmpp = settings.xmpp
    served = xmpp.upload.enabled and (xmpp.web.public_url or xmpp.listen_web_tls)
    return SipDoor(
        settings.sip,
        domains=settings.domains,
        service=made.service,
        accounts=made.accounts,
        metrics=made.metrics,
        certificate=settings.certificate,
        key=settings.key,
        named=settings.named_certificates,
        vapid_key=settings.vapid_key,
        share_ports=settings.processes.sip > 1,
        uploads=DirectoryUploads(uploads_dir(settings), xmpp.upload) if served else None,
        files={domain: files_at(domain, xmpp) for domain in settings.domains},
    )


def _admin(settings: Settings, made: Backend) -> Door:
    from gateway.admin.contact import token_for
    from gateway.admin.door import AdminDoor
    from gateway.admin.resource import Desk

    return AdminDoor(
        Desk(
            settings=settings,
            node=made.node,
            bus=made.bus,
            store=made.store,
            accounts=made.accounts,
            service=made.service,
            clock=time.time,
            token=token_for(settings.state_dir),
        )
    )


DOORS: dict[Role, Callable[[Settings, Backend], Door]] = {
    Role.XMPP: _xmpp,
    Role.SIP: _sip,
    Role.ADMIN: _admin,
}
"Each role's server, closed until it is started."


def web(settings: Settings, role: Role, door: Door) -> WebServer | None:
    """HTTP for a door that has it, on that door's addresses; none where no address is set."""
    if not isinstance(door, Web) or role is Role.ADMIN:
        return None
    section = settings.xmpp if role is Role.XMPP else settings.sip
    if not (section.listen_web or section.listen_web_tls):
        return None
    xmpp = role is Role.XMPP
    proxies = settings.xmpp.web.trusted_proxies if xmpp else settings.sip.web_trusted_proxies
    return WebServer(
        door.routes(),
        plain=section.listen_web,
        tls=section.listen_web_tls,
        certificate=settings.certificate,
        key=settings.key,
        named=settings.named_certificates,
        max_message=door.max_message,
        proxies=proxies,
        share_ports=settings.processes.count(role) > 1,
    )
