"""Settings of the XMPP door."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator

from presence.address import canonical_domain, parse_address
from presence.errors import InvalidAddress
from presence.listening import split_listen
from xmpp.relays import parse_relay

CONTACTS = ("abuse", "admin", "feedback", "sales", "security", "status", "support")
"XEP-0157 §3."
MECHANISMS = ("SCRAM-SHA-512", "SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN", "DIGEST-MD5")
"What can be set, without -PLUS."


class WebSettings(BaseModel):
    """XMPP over HTTP: WebSocket (RFC 7395) at `/xmpp-websocket`, BOSH (XEP-0206) at `/http-bind`, and where
    clients find them (XEP-0156)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    public_url: str = ""
    """Where clients reach this server's HTTP, as `https://HOST` or `https://HOST:PORT`, with a path if a
    proxy puts one before ours. Empty: as the request says. Needed for uploads."""
    origins: tuple[str, ...] = ()
    """Web pages that may connect, as `https://chat.example.org`, or `*` for any. Pages of the public URL and
    of `https://DOMAIN` always may, and so may what is no page: clients that name no origin."""
    trusted_proxies: tuple[str, ...] = ("127.0.0.1", "::1")
    """Addresses or networks of reverse proxies: their X-Forwarded-For and X-Forwarded-Proto are believed.
    What they say came over HTTPS may log in with passwords."""
    see_other_uri: str = ""
    """Send all clients that connect to another place, e.g. `wss://new.example.org/xmpp-websocket`, while this
    one is given up (RFC 7395 §3.6.1)."""

    bosh_wait: int = Field(default=60, ge=1, le=600)
    "Seconds a BOSH request may be held, at most."
    bosh_hold: int = Field(default=2, ge=1, le=10)
    "Requests of one BOSH session that may be held at once, at most. Clients usually want one."
    bosh_inactivity: int = Field(default=60, ge=5, le=3600)
    "Seconds without any request after which a BOSH session is lost."
    bosh_pause: int = Field(default=120, ge=5, le=3600)
    "Seconds for which a client may announce to be away (XEP-0124 §10), at most."

    @field_validator("public_url")
    @classmethod
    def _public(cls, value: str) -> str:
        parts = urlsplit(value)
        if value and (parts.scheme not in ("https", "http") or not parts.hostname or parts.query):
            raise ValueError(f"https://HOST is wanted, not {value!r}")
        return value.rstrip("/")

    @field_validator("origins")
    @classmethod
    def _origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for text in value:
            parts = urlsplit(text)
            if text != "*" and (not parts.scheme or not parts.netloc or parts.path):
                raise ValueError(f"an origin is SCHEME://HOST or SCHEME://HOST:PORT, not {text!r}")
        return tuple(text.lower() for text in value)

    @field_validator("trusted_proxies")
    @classmethod
    def _networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for text in value:
            ip_network(text, strict=False)
        return value


class ComponentSettings(BaseModel):
    """A program that serves a domain of its own (XEP-0114)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    domain: str
    "E.g. `irc.example.org`."
    secret: str = Field(min_length=1)
    "What it shows that it knows."

    @field_validator("domain")
    @classmethod
    def _canonical(cls, value: str) -> str:
        try:
            return canonical_domain(value)
        except InvalidAddress as error:
            raise ValueError(f"not a domain: {error}") from error


class PushSettings(BaseModel):
    """Notifications for clients that sleep (XEP-0357), through the push services they name."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    content: Literal["count", "sender", "body"] = "count"
    """What the push service, and whoever is behind it, learns of a message: only that there is one, who sent
    it, or all of it."""
    interval: float = Field(default=5.0, ge=0, le=600)
    "Seconds within which further messages make one more notification together."


class UploadSettings(BaseModel):
    """Files that clients share (XEP-0363), served at `/upload` of the HTTP addresses."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    enabled: bool = True
    "Offer `upload.DOMAIN` to clients. It needs `xmpp.web.public_url` or an address in `xmpp.listen_web_tls`."
    directory: Path | None = None
    "Where the files are. Empty: `uploads` in the state directory. Processes on several hosts must share it."
    max_size: int = Field(default=104_857_600, ge=1)
    "Bytes of one file."
    quota: int = Field(default=1_073_741_824, ge=0)
    "Bytes of all files of one person; 0: no limit."
    max_files: int = Field(default=5_000, ge=0)
    "Files of one person; 0: no limit."
    days: float = Field(default=30.0, ge=0)
    "Days after which a file is deleted; 0: never."
    slot_lifetime: int = Field(default=300, ge=10, le=86_400)
    "Seconds in which an upload must begin."

    @field_validator("directory", mode="before")
    @classmethod
    def _empty_is_none(cls, value: object) -> object:
        return None if value == "" else value


class XmppSettings(BaseModel):
    """Clients connect here with XMPP (RFC 6120, RFC 6121)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    listen: tuple[str, ...] = ("[::]:5222",)
    """Addresses for connections that start in the clear and must change to TLS (STARTTLS), as `HOST:PORT` or
    `[IPv6]:PORT`. `[::]` takes IPv4, too. Port 0 takes a free one."""
    listen_tls: tuple[str, ...] = ("[::]:5223",)
    "Addresses for connections that begin with TLS (XEP-0368)."
    listen_web: tuple[str, ...] = ("127.0.0.1:5280",)
    """Addresses for HTTP without TLS, for a reverse proxy on this machine: XMPP over WebSocket (RFC 7395),
    BOSH, uploads. Keep them on loopback."""
    listen_web_tls: tuple[str, ...] = ("[::]:5281",)
    "Addresses for the same over HTTPS."
    components: tuple[ComponentSettings, ...] = ()
    """Programs that serve domains of their own, e.g. transports and bots (XEP-0114): tables
    `[[xmpp.components]]` with `domain` and `secret`. Any of them may connect, one connection at a time."""
    listen_components: tuple[str, ...] = ("127.0.0.1:5347",)
    """Addresses they connect to, without TLS: keep them on loopback or in a network you trust. Opened where
    there are `components`."""
    allow_plaintext: bool = False
    """Let clients that connect from this machine itself log in without TLS. For tests, and proxies that
    end TLS."""
    mechanisms: tuple[str, ...] = Field(
        default=("SCRAM-SHA-512", "SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN"), min_length=1
    )
    """SASL mechanisms offered, as far as the accounts can prove them; the SCRAM ones with channel binding
    (-PLUS), too. PLAIN is never offered without TLS unless `allow_plaintext` says so."""
    resource_conflict: Literal["replace", "reject", "rename"] = "replace"
    """When a client asks for a resource that is connected: `replace` ends the older session, `reject`
    refuses the newer one, `rename` gives it another name (RFC 6120 §7.7.2.2)."""

    token_days: float = Field(default=21.0, ge=0, le=366)
    """Days a client may stay away and still log in with the token it was given instead of its password
    (XEP-0484). A new password, and disabling the account, end all tokens at once. 0: no tokens."""

    admins: tuple[str, ...] = ()
    "Addresses that may administer the server from their clients (XEP-0133)."
    contacts: dict[str, tuple[str, ...]] = {}
    """Addresses told to whoever looks for them (XEP-0157): `abuse`, `admin`, `feedback`, `sales`, `security`,
    `status`, `support` → URIs such as `mailto:abuse@example.org`, `xmpp:admin@example.org`."""
    registration: Literal["closed", "invited", "open"] = "closed"
    """Who may make an account with a client (XEP-0077): nobody, who has an invitation (XEP-0445, `tandem user
    invite`), anybody."""
    registrations_per_hour: int = Field(default=5, ge=1)
    "Times one network (an IPv4 address, an IPv6 /64) may try, over all processes."
    invitations: Literal["nobody", "admins", "everybody"] = "admins"
    "Who may make invitations with a client (XEP-0401)."
    invitation_days: float = Field(default=7.0, gt=0, le=366)
    "Days an invitation is good for."
    account_removal: bool = False
    "People may delete their own account with a client (XEP-0077)."

    sip_in_vcards: Literal["auto", "calls", "messages", "no"] = "auto"
    """Whether the vCards that are given out name the address under which people are reached by SIP
    (RFC 7081): for `messages` and presence (`impp`), or for `calls`, as a telephone number, too. `auto`: for
    calls where a SIP proxy is named that can carry them (`sip.outbound_proxy`, `sip.service_route`,
    `sip.trusted_peers`), else for messages. Who names another SIP address in their card is left with it."""

    relays: tuple[str, ...] = ()
    """STUN and TURN servers told to clients (XEP-0215): `stun:HOST`, `turn:HOST:PORT?transport=udp`,
    `turns:HOST`."""
    relay_secret: str = ""
    """Secret shared with the TURN server (coturn: `static-auth-secret`) for credentials that end by
    themselves. Empty: the TURN server knows the accounts, as reTurn does with the same users.txt."""
    relay_lifetime: int = Field(default=86_400, ge=60, le=604_800)
    "Seconds such credentials are good for."

    max_stanza_before_login: int = Field(default=10_000, ge=10_000, le=1_000_000)
    "Bytes of one stanza a client may send before it is authenticated (RFC 6120 §13.12)."
    max_stanza: int = Field(default=262_144, ge=10_000, le=16_777_216)
    "Bytes of one stanza afterwards."
    max_depth: int = Field(default=64, ge=8, le=1000)
    "Levels of elements inside one stanza."
    max_connections: int = Field(default=50_000, ge=1)
    "Connections of one process."
    max_connections_per_address: int = Field(default=10_000, ge=1)
    "Connections from one IPv4 address or one IPv6 /64 network."
    max_logging_in_per_address: int = Field(default=500, ge=1)
    "Of these, connections that are not authenticated yet."
    max_resources: int = Field(default=32, ge=1)
    "Connected clients of one account."
    max_login_attempts: int = Field(default=5, ge=2, le=100)
    "Failed logins on one connection before it is closed."
    max_rate: int = Field(default=2_097_152, ge=0)
    """Bytes a second one client may send over longer times. Who sends faster is read more slowly, and nothing
    is lost. What it makes us answer counts, too, four times, and each stanza as 512 bytes more than it has.
    0: no limit."""
    max_rate_before_login: int = Field(default=16_384, ge=0)
    "The same, before it is authenticated."
    rate_burst: float = Field(default=10.0, gt=0, le=3600)
    "Seconds' worth of that which may come at once."
    max_outbound: int = Field(default=4_194_304, ge=65_536)
    """Bytes that may wait for a client that does not read. From a quarter of it on, messages for it wait in
    the server, and what nobody owes it is left out. Beyond it the connection is closed; messages it has not
    taken wait for it or go to the account's other clients."""

    max_unacknowledged: int = Field(default=10_000, ge=100)
    """Stanzas kept until the client says that it has them (XEP-0198), and for as long as it is away. Beyond
    it, or beyond half of `max_outbound` in bytes, the session ends; its messages wait or go elsewhere."""
    resume_timeout: float = Field(default=600.0, ge=0, le=86_400)
    """Seconds a session waits for a client whose connection broke to take it up again (XEP-0198). Its user
    stays available meanwhile. Clients may ask for less; 0: such sessions end at once."""

    login_timeout: float = Field(default=30.0, gt=0, le=600)
    "Seconds from connecting to being logged in."
    ping_interval: float = Field(default=300.0, ge=0)
    "Seconds of silence after which a client is pinged (XEP-0199); 0: never."
    ping_timeout: float = Field(default=60.0, gt=0)
    "Seconds a client has to answer a ping."
    lost_timeout: float = Field(default=60.0, gt=0)
    "Seconds the network may leave sent data unacknowledged before the connection counts as lost (Linux)."
    close_timeout: float = Field(default=2.0, gt=0, le=60)
    "Seconds a client has to close its side of a stream that we closed."
    drain_timeout: float = Field(default=5.0, gt=0, le=600)
    "Seconds all clients together have for that when the server stops."

    web: WebSettings = WebSettings()
    upload: UploadSettings = UploadSettings()
    push: PushSettings = PushSettings()

    fake_iterations: int = Field(default=10_000, ge=4096)
    "SCRAM iterations pretended for unknown users: as many as real accounts have, so that nobody can tell."

    def owes_too_much(self, stanzas: int, size: int) -> bool:
        """Whether a session with so many unacknowledged stanzas, of so many bytes, must end."""
        return stanzas > self.max_unacknowledged or size > self.max_outbound // 2

    @field_validator("mechanisms")
    @classmethod
    def _known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if unknown := [name for name in value if name not in MECHANISMS]:
            raise ValueError(f"{', '.join(unknown)}: not one of {', '.join(MECHANISMS)}")
        return value

    @field_validator("relays")
    @classmethod
    def _relays(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for text in value:
            parse_relay(text)
        return value

    @field_validator("admins")
    @classmethod
    def _people(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if nobody := [text for text in value if not parse_address(text).local]:
            raise ValueError(f"{', '.join(nobody)}: user@domain is wanted")
        return tuple(str(parse_address(text)) for text in value)

    @field_validator("contacts")
    @classmethod
    def _roles(cls, value: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        if unknown := [name for name in value if name not in CONTACTS]:
            raise ValueError(f"{', '.join(unknown)}: not one of {', '.join(CONTACTS)}")
        return value

    @field_validator("listen", "listen_tls", "listen_web", "listen_web_tls", "listen_components")
    @classmethod
    def _addresses(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for text in value:
            split_listen(text)
        return value
