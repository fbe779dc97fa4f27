"""A small server behind the listener: accounts in memory, and sessions that send back what they receive."""

from __future__ import annotations

import asyncio
import datetime
import hashlib
import hmac
from collections.abc import Sequence
from pathlib import Path

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from presence.address import Address, parse_address
from presence.errors import Unavailable
from presence.ports import Account, AccountChanged, DigestAlgorithm, ScramKeys
from xmpp.edge.listener import Listener
from xmpp.edge.tls import Identity, load_identity
from xmpp.element import CLIENT_NS, E, Element
from xmpp.entrance import Threshold
from xmpp.errors import StanzaError, StreamError
from xmpp.host import BoundSession, Outbound, Resumed
from xmpp.jid import JID
from xmpp.realm import Realm
from xmpp.serialiser import serialise
from xmpp.settings import XmppSettings

RESUME_NS = "urn:example:resume"
ITERATIONS = 4096


def scram_keys(
    password: str, algorithm: str, salt: bytes = b"salty", iterations: int = ITERATIONS
) -> ScramKeys:
    """RFC 5802 §3, from the password."""
    name = algorithm.replace("-", "").lower()
    salted = hashlib.pbkdf2_hmac(name, password.encode(), salt, iterations)
    client_key = hmac.digest(salted, b"Client Key", name)
    return ScramKeys(
        salt=salt,
        iterations=iterations,
        stored_key=hashlib.new(name, client_key).digest(),
        server_key=hmac.digest(salted, b"Server Key", name),
    )


class MemoryAccounts:
    """Implements `presence.ports.Accounts`."""

    def __init__(self, *users: tuple[str, str]) -> None:
        self.mechanisms = frozenset({"PLAIN", "SCRAM-SHA-1", "SCRAM-SHA-256"})
        self.reserved: frozenset[str] = frozenset()
        self.accounts: dict[Address, Account] = {}
        self.passwords: dict[Address, str] = {}
        self.seen: list[Address] = []
        self.reachable = True
        for user, password in users:
            self.put(user, password)

    def put(self, user: str, password: str, *, enabled: bool = True, scram: bool = True) -> None:
        address = parse_address(user)
        keys = {name: scram_keys(password, name) for name in ("SHA-1", "SHA-256")} if scram else {}
        self.accounts[address] = Account(address=address, enabled=enabled, scram=keys)
        self.passwords[address] = password

    def _reach(self) -> None:
        if not self.reachable:
            raise Unavailable("the accounts are away")

    async def digests(self) -> tuple[DigestAlgorithm, ...]:
        return ()

    async def offers(self, address: Address | None) -> frozenset[str]:
        self._reach()
        account = self.accounts.get(address) if address is not None else None
        if account is None:
            return self.mechanisms
        missing = {f"SCRAM-{name}" for name in ("SHA-1", "SHA-256") if name not in account.scram}
        return self.mechanisms - missing

    async def find(self, address: Address) -> Account | None:
        self._reach()
        return self.accounts.get(address)

    async def check_password(self, address: Address, password: str) -> bool:
        self._reach()
        return hmac.compare_digest(self.passwords.get(address, "").encode(), password.encode())

    async def keep_scram(self, address: Address, name: str, keys: ScramKeys) -> None:
        account = self.accounts[address]
        self.accounts[address] = msgspec.structs.replace(account, scram={**account.scram, name: keys})

    async def set_password(self, address: Address, password: str) -> None:
        self.put(str(address), password)

    async def add(self, address: Address, password: str, *, invitation: str = "") -> None:
        self.put(str(address), password)

    async def delete(self, address: Address) -> None:
        del self.accounts[address]

    async def list(self) -> list[Account]:
        return [*self.accounts.values()]

    async def seen_on_xmpp(self, address: Address) -> None:
        self._reach()
        self.seen.append(address)

    async def set_enabled(self, address: Address, enabled: bool) -> None:
        self.accounts[address] = msgspec.structs.replace(self.accounts[address], enabled=enabled)

    async def refresh(self, *, force: bool = False) -> Sequence[AccountChanged]:
        return ()

    def forget(self, address: Address) -> None: ...

    async def close(self) -> None: ...


class Counters:
    """Implements `presence.ports.Metrics`."""

    def __init__(self) -> None:
        self.counts: dict[str, float] = {}
        self.gauges: dict[str, float] = {}

    def count(self, name: str, amount: float = 1, /, **labels: str) -> None:
        self.counts[name] = self.counts.get(name, 0) + amount

    def gauge(self, name: str, value: float, /, **labels: str) -> None:
        self.gauges[name] = value


class EchoSession:
    """Sends every stanza back to its sender; some bodies are orders."""

    def __init__(self, jid: JID, outbound: Outbound, lang: str) -> None:
        self.jid = jid
        self.outbound = outbound
        self.lang = lang
        self.received: list[Element] = []
        self.flushes = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.over: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def receive(self, stanza: Element) -> None:
        await self.gate.wait()
        self.received.append(stanza)
        body = stanza.find("body")
        match body.text if body is not None else "":
            case "crash":
                raise RuntimeError("as ordered")
            case "conflict":
                raise StreamError("conflict")
            case "close":
                self.outbound.close(None)
            case _:
                back = stanza.copy()
                back.attrs["to"] = back.attrs.pop("from", "")
                self.outbound.send(serialise(back, CLIENT_NS).encode())

    def flushed(self) -> None:
        self.flushes += 1

    async def closed(self, reason: str) -> None:
        self.over.set_result(reason)


class EchoHost:
    """Implements `xmpp.host.Host`."""

    def __init__(self) -> None:
        self.sessions: list[EchoSession] = []
        self.refusal: StanzaError | None = None
        self.greets = False
        self.hold: asyncio.Event | None = None

    def features(self) -> list[Element]:
        return [E("ver", "urn:xmpp:features:rosterver")]

    async def resume(
        self, address: Address, element: Element, outbound: Outbound, lang: str
    ) -> Resumed | Element:
        """Takes up the last session over a new stream, if there is one."""
        if not self.sessions:
            return E("failed", RESUME_NS)
        old = self.sessions[-1]
        session = EchoSession(old.jid, outbound, lang)
        outbound.send(b"<message id='missed'/>")
        return Resumed(session, E("resumed", RESUME_NS))

    async def bind(
        self, address: Address, resource: str | None, outbound: Outbound, lang: str
    ) -> BoundSession:
        if self.refusal is not None:
            raise self.refusal
        session = EchoSession(JID.of(address, resource or f"r{len(self.sessions)}"), outbound, lang)
        self.sessions.append(session)
        if self.greets:
            outbound.send(b"<presence from='early@example.org'/>")
            await asyncio.sleep(0)
        if self.hold is not None:
            await self.hold.wait()
        return session


def make_certificate(directory: Path) -> tuple[Path, Path]:
    """A self-signed certificate for example.org: PEM files of certificate and key."""
    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "example.org")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(days=2))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("example.org")]), critical=False)
        .sign(private, hashes.SHA256())
    )
    certificate, key = directory / "cert.pem", directory / "key.pem"
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    key.write_bytes(
        private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return certificate, key


class EchoServer:
    """A listener on free loopback ports with an `EchoHost` behind it."""

    def __init__(
        self,
        directory: Path,
        *,
        accounts: MemoryAccounts | None = None,
        domains: Sequence[str] = ("example.org",),
        settings: XmppSettings | None = None,
        listen: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        self.host = EchoHost()
        self.accounts = accounts or MemoryAccounts(("alice@example.org", "secret"))
        self.metrics = Counters()
        self.identity: Identity = load_identity(*make_certificate(directory))
        given = settings or XmppSettings()
        ports = {"listen": (f"{listen}:{port}",), "listen_tls": (f"{listen}:0",)}
        self.realm = Realm(
            settings=given.model_copy(update=ports),
            domains=tuple(domains),
            accounts=self.accounts,
            host=self.host,
            fake_secret=self.identity.secret,
            threshold=Threshold(negotiable={RESUME_NS: self.host.resume}),
        )

    async def __aenter__(self) -> EchoServer:
        self.listener = Listener(self.realm, self.identity, self.metrics)
        await self.listener.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.listener.stop()

    def where(self, *, direct: bool = False) -> tuple[str, int]:
        return next((one.host, one.port) for one in self.listener.listening if one.direct == direct)
