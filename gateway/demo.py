"""The first five minutes: accounts alice and bob, each other's buddies, and one screen that says how to
log in."""

from __future__ import annotations

import secrets
from pathlib import Path

import msgspec

from gateway.certs import write_private
from gateway.config import Settings
from gateway.listeners import Listener, listeners
from presence.address import Address, parse_address
from presence.edge.accounts import backends
from presence.errors import Condition, Refused
from presence.ports import Accounts
from presence.service import PresenceService
from presence.subscriptions import Act

NAMES = ("alice", "bob")
CONSONANTS = "bdfghkmnprstvz"
VOWELS = "aeiou"
BARESIP_MODULES = (Path("/usr/lib/baresip/modules"), Path("/usr/local/lib/baresip/modules"))


class Person(msgspec.Struct, frozen=True):
    """One of the two accounts."""

    address: str
    password: str


def problems(settings: Settings) -> list[str]:
    """What keeps the demo from making its people."""
    backend = backends().get(settings.accounts.backend)
    if not settings.demo or backend is None or backend.creates:
        return []
    return [
        f"demo: alice and bob cannot be made, {backend.name} only reads accounts that are kept elsewhere; "
        "start with --no-demo (make run ARGS=--no-demo), or with accounts.backend sql"
    ]


def secrets_file(state_dir: Path) -> Path:
    """Where the passwords are kept for the next start; only the owner may read it."""
    return state_dir / "demo.json"


def people(settings: Settings) -> list[Person]:
    """Alice and bob with their passwords, made at the first start; under another domain they keep them."""
    path = secrets_file(settings.state_dir)
    try:
        kept = msgspec.json.decode(path.read_bytes(), type=list[Person])
    except FileNotFoundError:
        kept = [Person(name, readable_password()) for name in NAMES]
        write_private(path, msgspec.json.encode(kept))
    domain = settings.domains[0]
    return [Person(f"{each.address.partition('@')[0]}@{domain}", each.password) for each in kept]


def readable_password() -> str:
    """Easy to read out and to type on a phone, about 43 bits: `kumo-tari-feso-71`."""
    words = ["".join(secrets.choice(CONSONANTS) + secrets.choice(VOWELS) for _ in range(2)) for _ in range(3)]
    return "-".join([*words, f"{secrets.randbelow(100):02}"])


async def prepare(everyone: list[Person], accounts: Accounts, service: PresenceService) -> None:
    """Make the accounts that are missing, and make all of them each other's buddies."""
    made: list[Address] = []
    for person in everyone:
        address = parse_address(person.address)
        try:
            await accounts.add(address, person.password)
        except Refused as refused:
            if refused.condition is not Condition.CONFLICT:
                raise
            continue
        made.append(address)
    if not made:
        return
    addresses = [parse_address(person.address) for person in everyone]
    for user in addresses:
        for contact in addresses:
            if user != contact and not (await service.decide(contact, user)).reason.startswith("roster"):
                await service.act(contact, user, Act.SUBSCRIBE)
                await service.act(user, contact, Act.SUBSCRIBED)
                await service.set_item(contact, user, user.local.capitalize(), ())


def write_phone(settings: Settings, everyone: list[Person]) -> Path:
    """A directory with which the baresip phone is bob: `baresip -f DIRECTORY`."""
    directory = settings.state_dir / "baresip"
    alice, bob = everyone[0], everyone[1]
    server = f"sip:{_host(settings, 'sip.listen_udp')}:{_port(settings, 'sip.listen_udp')};transport=udp"
    account = f'<sip:{bob.address}>;auth_pass={bob.password};outbound="{server}";regint=60;pubint=60'
    write_private(directory / "accounts", f"{account}\n".encode())
    write_private(directory / "contacts", f'"Alice" <sip:{alice.address}>;presence=p2p\n'.encode())
    modules = next((path for path in BARESIP_MODULES if path.is_dir()), BARESIP_MODULES[0])
    lines = ["sip_listen 127.0.0.1:0", f"module_path {modules}", "module stdio.so", "module_tmp account.so"]
    lines += [f"module_app {name}.so" for name in ("contact", "presence", "menu")]
    write_private(directory / "config", "\n".join([*lines, ""]).encode())
    return directory


def welcome(settings: Settings, everyone: list[Person], command: str) -> str:
    """One screen: an XMPP client, a SIP phone, and how to look at the bus."""
    alice, bob = everyone[0], everyone[1]
    local, _, domain = bob.address.partition("@")
    xmpp_host, sip_host = _host(settings, "xmpp.listen"), _host(settings, "sip.listen_udp")
    xmpp, sip, sips = (_port(settings, name) for name in ("xmpp.listen", "sip.listen_udp", "sip.listen_tls"))
    return f"""
Tandem is running. Alice takes an XMPP client, Bob a SIP phone; both accounts work in both.

  alice   {alice.address}   {alice.password}
  bob     {bob.address}   {bob.password}

XMPP, e.g. profanity:
  profanity
  /connect {alice.address} server {xmpp_host} port {xmpp} tls trust
Any other client: server {xmpp_host}, port {xmpp}; the certificate is self-signed, accept it when asked.

SIP, e.g. baresip, for which everything is written down already (/message TEXT talks to Alice):
  baresip -f {settings.state_dir / "baresip"}
Any other phone: user {local}, domain {domain}, proxy {sip_host}, UDP or TCP port {sip}, TLS port {sips}.

Look at the bus, in another terminal here:
  {command} bus tail
  {command} presence show {bob.address}
  {command} who-sees {bob.address} {alice.address}

Ctrl-C stops it. The next start finds everything again in {settings.state_dir}.
"""


def _port(settings: Settings, setting: str) -> int:
    return next((each.port for each in _of(settings, setting)), 0)


def _host(settings: Settings, setting: str) -> str:
    hosts = [each.host for each in _of(settings, setting)]
    return next((host for host in hosts if host not in ("::", "0.0.0.0")), "127.0.0.1")


def _of(settings: Settings, setting: str) -> list[Listener]:
    return [each for each in listeners(settings) if each.setting == setting]
