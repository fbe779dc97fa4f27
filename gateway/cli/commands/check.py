"""`tandem check`: everything that would keep the gateway from serving, before it is started."""

from __future__ import annotations

import asyncio
import datetime
import os
import socket
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from urllib.parse import urlsplit

import typer
from rich.markup import escape

from gateway import certs, demo
from gateway.cli import api
from gateway.cli.app import app, example, out, settings
from gateway.config import Settings
from gateway.exits import Exit
from gateway.listeners import listeners
from gateway.wiring import push_problems
from presence.edge.accounts import account_problems, backends
from presence.edge.redis import RedisBus
from presence.edge.sql import SqlStore
from presence.errors import Unavailable
from xmpp.relays import parse_relay, record

OUR_PACKAGES = ("gateway", "presence", "sip", "xmpp")
SOON = datetime.timedelta(days=14)


@app.command(epilog=example("--config /etc/tandem/tandem.toml check"))
def check(context: typer.Context) -> None:
    """Check configuration, ports, certificates, bus, store, DNS and packages, and tell everything at once.

    Exit code 78 when something would keep Tandem from serving.
    """
    chosen = settings(context)
    serving = api.is_running(chosen)
    kept = list(state(chosen))
    opened = [] if serving or kept else list(ports(chosen))
    problems = [*kept, *opened, *certificates(chosen), *account_problems(chosen.accounts)]
    problems += demo.problems(chosen)
    problems += push_problems(chosen) if chosen.processes.sip else []
    problems += packages()
    problems += asyncio.run(reachable(chosen))
    for problem in problems:
        out.print(f"[red]problem[/]  {escape(problem)}", soft_wrap=True)
    running = ["Tandem is running with this state directory; its ports were not checked"] if serving else []
    for hint in [
        *running,
        *certificate_hints(chosen),
        *account_hints(chosen),
        *dns_hints(chosen),
        *relay_hints(chosen),
        *xcap_hints(chosen),
    ]:
        out.print(f"[yellow]hint[/]     {escape(hint)}", soft_wrap=True)
    if problems:
        raise typer.Exit(Exit.CONFIG)
    out.print("[green]ok[/]       Tandem can start with this configuration")


def state(chosen: Settings) -> Iterator[str]:
    """A directory that is there and not ours: a gateway in it cannot even be asked whether it runs."""
    try:
        there = chosen.state_dir.exists()
    except PermissionError:
        there = True
    if there and not os.access(chosen.state_dir, os.R_OK | os.W_OK | os.X_OK):
        yield f"state_dir: {chosen.state_dir} is another user's; call this as the user who runs Tandem"


def ports(chosen: Settings) -> Iterator[str]:
    """Addresses that cannot be listened on."""
    for listener in listeners(chosen):
        if problem := listener.problem():
            yield problem


def certificates(chosen: Settings) -> Iterator[str]:
    """Files that cannot be used. The self-signed one is made at the first start."""
    files = {f"tls.domains.{name}": pair for name, pair in chosen.named_certificates.items()}
    if chosen.tls.certificate is not None:
        files["tls"] = chosen.certificate, chosen.key
    for setting, (certificate, key) in files.items():
        try:
            certs.verify(certificate, key)
            _, ends = certs.describe(certificate)
        except certs.CertificateError as error:
            yield f"{setting}.certificate, {setting}.key: {error}"
            continue
        if ends < datetime.datetime.now(datetime.UTC):
            yield f"{setting}.certificate: {certificate} ended on {ends:%Y-%m-%d}"


def certificate_hints(chosen: Settings) -> Iterator[str]:
    """What clients will complain about."""
    shown = dict.fromkeys(chosen.domains, ("tls", chosen.tls.certificate))
    shown |= {d: (f"tls.domains.{d}", files.certificate) for d, files in chosen.tls.domains.items()}
    if any(file is None for _, file in shown.values()):
        yield "tls.certificate: none is set; a self-signed one is shown, which clients ask their users about"
    said: set[str] = set()
    for domain, (setting, file) in shown.items():
        if file is None:
            continue
        try:
            names, ends = certs.describe(file)
        except certs.CertificateError:
            continue
        if not certs.covers(names, domain):
            covered = ", ".join(names) or "no name"
            yield f"{setting}.certificate: it does not cover {domain}, only {covered}"
        now = datetime.datetime.now(datetime.UTC)
        if now < ends < now + SOON and setting not in said:
            said.add(setting)
            yield f"{setting}.certificate: it ends on {ends:%Y-%m-%d}"


def account_hints(chosen: Settings) -> Iterator[str]:
    """What an account backend cannot do."""
    known = backends().get(chosen.accounts.backend)
    if known is not None:
        yield from known.hints(chosen.accounts)
    if known is not None and not known.phones:
        yield (
            f"accounts.backend: {known.name} cannot prove a digest, so SIP phones cannot log in; they need "
            "an HA1 (sql, users_txt) or a server that checks digests (radius)"
        )
    if known is not None and chosen.xmpp.registration != "closed" and not known.creates:
        yield f"xmpp.registration: {known.name} makes no accounts, so clients cannot either"
    if known is not None and "PLAIN" not in chosen.xmpp.mechanisms and known.name != "sql":
        yield f"xmpp.mechanisms: without PLAIN nobody of {known.name} can log in with XMPP"


def packages() -> Iterator[str]:
    """Other distributions that own our package names: pip overwrites silently (`xmpppy` owns `xmpp`)."""
    owners = packages_distributions()
    for package in OUR_PACKAGES:
        others = sorted(set(owners.get(package, ())) - {"tandem-gateway"})
        if others:
            yield f"package {package} also belongs to {', '.join(others)}: use a virtual environment"


async def reachable(chosen: Settings) -> list[str]:
    """The bus and the store, where they are not our own files."""
    found = []
    if chosen.bus.url:
        bus = RedisBus(chosen.bus.url, name="check")
        try:
            await bus.start()
        except Unavailable as error:
            found.append(f"bus.url: {error}")
        finally:
            await bus.close()
    if chosen.store.url:
        store = SqlStore(chosen.store.url)
        try:
            await store.ping()
        except (Unavailable, ImportError) as error:
            found.append(f"store.url: {error}")
        finally:
            await store.close()
    return found


def dns_hints(chosen: Settings) -> Iterator[str]:
    """Names clients will look up. SRV records need a resolver of their own, so only addresses are checked
    here."""
    for domain in chosen.domains:
        if domain == "localhost":
            continue
        try:
            socket.getaddrinfo(domain, None)
        except OSError:
            yield (
                f"domains: {domain} has no address in DNS; clients need one, or SRV records "
                f"_xmpp-client._tcp.{domain}, _sip._udp.{domain}, _sip._tcp.{domain}, _sips._tcp.{domain}"
            )


def xcap_hints(chosen: Settings) -> Iterator[str]:
    """Phones are given the URL of their buddy lists, or ask for a TXT record."""
    root = urlsplit(chosen.sip.xcap_root)
    if chosen.sip.xcap_root and not (chosen.sip.listen_web or chosen.sip.listen_web_tls):
        yield "sip.xcap_root: no address in sip.listen_web_tls or sip.listen_web serves it"
    elif root.hostname:
        try:
            socket.getaddrinfo(root.hostname, None)
        except OSError:
            yield f"sip.xcap_root: {root.hostname} has no address"
        for domain in chosen.domains:
            if domain != "localhost":
                yield f'sip.xcap_root: for phones to find it, DNS needs xcap.{domain} TXT "{root.geturl()}"'


def relay_hints(chosen: Settings) -> Iterator[str]:
    """XMPP clients ask for the relays (XEP-0215); phones find them in DNS, or are configured."""
    relays = [parse_relay(text) for text in chosen.xmpp.relays]
    for host in dict.fromkeys(relay.host for relay in relays):
        try:
            socket.getaddrinfo(host, None)
        except OSError:
            yield f"xmpp.relays: {host} has no address"
    for domain in chosen.domains:
        records = [record(relay, domain) for relay in relays] if domain != "localhost" else []
        for each in dict.fromkeys(filter(None, records)):
            yield f"xmpp.relays: for phones to find it, DNS needs {each}"
