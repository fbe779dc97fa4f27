"""Settings of the SIP door."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from presence.address import canonical_local
from presence.guarding import Exempt
from presence.listening import split_listen
from sip.errors import BadUri
from sip.uri import parse_uri

Charset = Literal[
    "utf-8",
    "us-ascii",
    "iso-8859-1",
    "iso-8859-2",
    "iso-8859-5",
    "iso-8859-7",
    "iso-8859-9",
    "iso-8859-15",
    "windows-1250",
    "windows-1251",
    "windows-1252",
    "koi8-r",
]

_PATH = re.compile(r"/[\w.~/-]*", re.ASCII)


class PhoneProfile(BaseModel):
    """What is done differently for some phones; what is not given stays as it is (docs/compliance.md)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    agents: tuple[str, ...] = Field(min_length=1)
    "Beginnings of User-Agent."
    digests: tuple[Literal["MD5", "SHA-256"], ...] | None = None
    "The only digest algorithms offered."
    unique_call_ids: bool | None = None
    "Each MESSAGE has a Call-ID of its own, not its conversation's."
    gruu_in_from: bool | None = None
    "From carries the sender's resource; otherwise it does for phones that say they know GRUUs."
    answers_with_to_tag: bool | None = None
    "False: the phone's responses may lack the To tag."
    charset: Charset | None = None
    "What its texts are written in, for phones that do not know UTF-8."
    split_texts: bool | None = None
    "Texts too long for a packet go to it in numbered parts; otherwise they are refused to their senders."
    plain_text_only: bool | None = None
    "It is sent texts and nothing else."
    bodies: tuple[str, ...] | None = None
    "Media types of notifications it shows better than the one it would get, e.g. `application/xpidf+xml`."


class Followed(BaseModel):
    """A registrar or call server of others whose state is followed (RFC 3680, RFC 4235)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    server: str
    "URI subscriptions are sent to: `sip:registrar.example.org`, `sip:192.0.2.1;transport=tcp`."
    events: tuple[Literal["reg", "dialog"], ...] = Field(default=("reg",), min_length=1)
    "`reg`: phones registered there; `dialog`: calls it knows of."
    addresses: tuple[str, ...] = ()
    "Whose; empty: everybody's who has an account here."
    watcher: str = ""
    "Address the subscriptions come from; empty: the domain's."
    user: str = ""
    "Name to log in with, where the server asks for one."
    password_file: Path | None = None
    "File with its password."
    expires: int = Field(default=600, ge=60, le=7200)
    """Seconds of a subscription; all is asked for anew before they are over. What the server said is believed
    no longer than that, should it fall silent."""

    @field_validator("server")
    @classmethod
    def _uri(cls, value: str) -> str:
        return sip_uri(value)


class PushSettings(BaseModel):
    """Phones that sleep are woken through the push service they name when they register (RFC 8599)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    webpush: bool = False
    """Reach web push services (RFC 8030), such as those of browsers: the address of each is its phone's word.
    HTTPS only, and to public addresses only."""
    vapid_key: Path | None = None
    """PEM file with the P-256 key that web push services know this server by (RFC 8292). Empty: made at the
    first start under the state directory. Another key, and phones have to subscribe anew."""
    contact: str = ""
    "Whom web push services may turn to: a `mailto:` or `https:` URI. Some want to know."
    gateways: dict[str, str] = {}
    """Other services: `pn-provider` as phones name it, e.g. `apns`, `fcm` → URL of a gateway of yours, which
    is told by HTTP whom to wake (docs/push.md). HTTPS, or HTTP to this machine."""
    gateway_token_file: Path | None = None
    "File with a token for the gateways; sent as `Authorization: Bearer`."
    authorities: str = ""
    "File with the certificates that vouch for those of push services. Empty: the system's."
    private_networks: tuple[str, ...] = ()
    "Networks that are not public and where phones may have a push service all the same."
    timeout: float = Field(default=10.0, gt=0, le=60)
    "Seconds a push service may take to answer."

    @field_validator("vapid_key", "gateway_token_file", mode="before")
    @classmethod
    def _empty_is_none(cls, value: object) -> object:
        return None if value == "" else value

    @field_validator("contact")
    @classmethod
    def _reachable(cls, value: str) -> str:
        if value and not value.startswith(("mailto:", "https://")):
            raise ValueError("a mailto: or https: URI is wanted")
        return value

    @field_validator("gateways")
    @classmethod
    def _urls(cls, value: dict[str, str]) -> dict[str, str]:
        for name, url in value.items():
            if re.fullmatch(r"[a-z0-9][a-z0-9.\-]{0,31}", name) is None or name == "webpush":
                raise ValueError(f"{name!r} can be no gateway's pn-provider")
            parts = urlsplit(url)
            _ = parts.port
            near = parts.hostname in ("localhost", "127.0.0.1", "::1")
            if not parts.hostname or not (parts.scheme == "https" or (parts.scheme == "http" and near)):
                raise ValueError(f"{name}: https://HOST/PATH is wanted; http only to this machine")
        return value

    @field_validator("private_networks")
    @classmethod
    def _networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        Exempt(value)
        return value


class SipSettings(BaseModel):
    """Phones connect here with SIP (RFC 3261)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    listen_udp: tuple[str, ...] = ("[::]:5060",)
    "Addresses for UDP, as `HOST:PORT` or `[IPv6]:PORT`. `[::]` takes IPv4, too. Port 0 takes a free one."
    listen_tcp: tuple[str, ...] = ("[::]:5060",)
    "Addresses for TCP."
    listen_tls: tuple[str, ...] = ("[::]:5061",)
    "Addresses for TLS."
    advertise: str = ""
    """Host name or address phones can reach this server under, for Via and Contact. Empty: the address
    that each phone's packets arrive at, which is right unless the server stands behind a NAT."""

    listen_web: tuple[str, ...] = ("127.0.0.1:5066",)
    """Addresses for HTTP without TLS, for a reverse proxy on this machine: SIP over WebSocket (RFC 7118),
    XCAP. Keep them on loopback."""
    listen_web_tls: tuple[str, ...] = ("[::]:7443",)
    "Addresses for the same over HTTPS."
    web_trusted_proxies: tuple[str, ...] = ("127.0.0.1", "::1")
    """Addresses or networks of reverse proxies: their X-Forwarded-For and X-Forwarded-Proto are believed.
    Limits and bans go by them; all who come through proxies that do not say from where count as one place."""
    web_origins: tuple[str, ...] = ("*",)
    """Origins of web pages whose phones may connect over WebSocket, as `https://phone.example.org`; `*`: of
    all. Programs that are no browsers name none and may connect; all have to authenticate in any case."""

    xcap_root: str = "/xcap-root"
    """Where phones find their buddy lists and rules over HTTP (RFC 4825): a path on the addresses above, or
    the whole URL phones are given, `https://xcap.example.org/xcap-root`, if what they are told of it shall be
    absolute. Empty: no XCAP."""
    max_document: int = Field(default=524_288, ge=16_384, le=2_097_152)
    "Bytes of what a phone may write with one XCAP request."
    file_transfer: str = "/file-transfer"
    """Path on the same addresses where phones put files they share (RCC.07; for Linphone: its file transfer
    server), as their account; see docs/phones.md. What is put there is served by the xmpp role, with its
    limits (`xmpp.upload`). Empty: phones cannot."""
    service_route: tuple[str, ...] = ()
    """URIs of the proxies phones are to send their requests through, in this order, as
    `sip:proxy.example.org;lr` (RFC 3608). They are told when they register."""
    flow_timer: int = Field(default=120, ge=0, le=3600)
    """Seconds after which a phone that can keep its connection alive (RFC 5626) has to say that it is there.
    Half as much again in silence, and the connection counts as lost. 0: they are not told."""

    outbound_proxy: str = ""
    """URI of the proxy that requests of this server take when they go neither down a phone's own connection
    nor along a route that the phone's request came with: `sip:proxy.example.org`,
    `sip:192.0.2.1;transport=tcp`. It is found by NAPTR, SRV and address records (RFC 3263)."""
    trusted_peers: tuple[str, ...] = ()
    """Proxies in front of this server: addresses or networks (`192.0.2.1`, `10.1.0.0/16`), or names, which a
    peer proves by its TLS certificate. A request from one of them is its `P-Asserted-Identity`'s (RFC 3325),
    without a password; that of others is ignored. The proxy must authenticate users, and remove the field
    from what they send; it must overwrite `received` in their Via, as Kamailio does, for that is where limits
    and bans take them to be. A datagram's address can be forged: name only addresses that no forged packets
    come from."""
    peer_authorities: str = ""
    """File with the certificates that vouch for those of peers. Empty: the system's. Phones that show
    certificates are asked for them only where `trusted_peers` has names, and must then show good ones."""
    nameservers: tuple[str, ...] = ()
    "DNS servers as `HOST:PORT`. Empty: those of the system, and its `/etc/hosts`."
    requests_per_address: float = Field(default=100.0, ge=0)
    """Requests a second from one IPv4 address or IPv6 /64 network; ten seconds' worth may come at once. What
    is more gets 503 and a Retry-After. Of datagrams, whose sender may be forged, a fifth is answered until
    somebody there has answered a challenge, and none beyond twice the rate. Connections are not read for a
    while where five times as many messages come, answers included. 0: no limit."""
    requests_per_account: float = Field(default=20.0, ge=0)
    """The same for one account, wherever its phones are; what is more gets 480. As many people a second it
    may ask to see with lists. 0: no limit."""
    unlimited: tuple[str, ...] = ("127.0.0.0/8", "::1/128")
    "Networks whose requests are not limited."

    min_expires: int = Field(default=60, ge=1, le=3600)
    "Shortest registration, publication or subscription in seconds; shorter ones get 423 (RFC 3261 §10.3)."
    max_expires: int = Field(default=7200, ge=60, le=604_800)
    "Longest one; longer wishes are cut to it."
    register_expires: int = Field(default=3600, ge=60)
    "Seconds of a registration that asks for no time."
    publish_expires: int = Field(default=3600, ge=60)
    "Seconds of a publication that asks for no time."
    max_call_expires: int = Field(default=600, ge=60, le=7200)
    """Longest time in seconds a phone's word on its calls is believed (RFC 4235). A phone that vanished in a
    call is off the phone by then at the latest."""
    subscribe_expires: int = Field(default=3600, ge=60)
    "Seconds of a subscription that asks for no time."
    notify_interval: float = Field(default=5.0, ge=0, le=300)
    """Seconds between two notifications of the same presentity to one phone (RFC 3856 §6.10). The first
    comes at once, the last state always. 0: no limit."""
    notify_patience: float = Field(default=120.0, ge=0, le=3600)
    """Seconds for which a phone that does not accept its notifications keeps its subscription; they are tried
    again meanwhile. 0: the first one that is not answered ends it (RFC 6665 §4.2.2)."""
    buddy_list: str = "buddies"
    """User part of the address under which every phone finds its user's own roster as one subscription
    (RFC 4662): `sip:buddies@DOMAIN`. Nobody can have, or log in to, an account of that name. Empty: no
    lists."""
    assistant: str = "presence"
    """User part of the address from which people who have only a phone are asked by message who may see them,
    and which understands `yes`, `no`, and what phones may ask for (docs/phones.md); see `policy.phone`.
    Nobody can have, or log in to, an account of that name. Empty: nobody is asked by message, or may
    ask."""
    missed_calls: bool = True
    """Tell people in their XMPP clients of calls that rang and were not answered, as far as their phones
    publish them or a followed server tells of them (RFC 4235). The notice comes from the domain; who blocks
    the caller, or the domain, gets none."""
    follow: tuple[Followed, ...] = ()
    """Other servers' registrations and calls, which become presence of the people here. Tables
    `[[sip.follow]]` with `server`, `events`, `addresses`, `watcher`, `user`, `password_file`, `expires`."""
    registration_watchers: tuple[str, ...] = ()
    """Addresses that may follow everybody's registrations (event `reg`, RFC 3680), e.g. of an application
    server. Everybody else may follow their own."""
    on_the_phone: Literal["dnd", "away"] = "dnd"
    "How a phone's `on-the-phone` (RFC 4480) looks to XMPP clients."

    digest_algorithms: tuple[Literal["SHA-256", "SHA-512-256", "MD5"], ...] = ()
    """Digest algorithms phones are challenged with, in this order, as far as accounts can prove them. Empty:
    all, the strongest first (RFC 8760). Old phones give up at a first challenge they do not know: `["MD5"]`
    lets all of them in, at the price of what MD5 is worth; `sip.profiles` does it for some."""
    profiles: tuple[PhoneProfile, ...] = ()
    """What to do differently for which phones, beside what is known of them (docs/compliance.md): tables
    `[[sip.profiles]]` with `agents`, a list of beginnings of User-Agent, and some of `digests`,
    `unique_call_ids`, `gruu_in_from`, `answers_with_to_tag`, `plain_text_only`, `charset`, `split_texts`."""

    max_contacts: int = Field(default=10, ge=1, le=100)
    "Registered phones of one account; one more takes the place of the one refreshed longest ago."
    max_publications: int = Field(default=20, ge=1, le=1000)
    "Published documents of one account."
    max_dialogs: int = Field(default=500, ge=1, le=100_000)
    "Subscriptions of one account."
    max_datagram: int = Field(default=1300, ge=500, le=65_000)
    """Bytes of a request of ours that may go over UDP (RFC 3261 §18.1.1, RFC 3428 §8). A longer one takes the
    phone's TCP or TLS connection; where there is none, a MESSAGE is refused to its sender, and a notification
    says less: first notes go, then resources, the least preferred first. Raise it only where every network
    between here and the phones carries fragments."""
    max_connections: int = Field(default=20_000, ge=1)
    "TCP and TLS connections of one process."
    max_connections_per_address: int = Field(default=1_000, ge=1)
    "Connections from one IPv4 address or one IPv6 /64 network."
    max_outbound: int = Field(default=1_048_576, ge=65_536)
    "Bytes that may wait for a phone that does not read. Beyond it the connection is closed."

    idle_timeout: float = Field(default=120.0, ge=1)
    "Seconds after which a silent connection without a registration or subscription is closed."
    message_timeout: float = Field(default=32.0, ge=1)
    """Seconds a message on a TCP or TLS connection may take from its first byte to its last; then the
    connection is closed, whosever it is."""
    lost_timeout: float = Field(default=60.0, gt=0)
    "Seconds the network may leave sent data unacknowledged before a connection counts as lost (Linux)."
    drain_timeout: float = Field(default=3.0, ge=0, le=600)
    "Seconds a stopping process waits for answers that are still due."

    push: PushSettings = PushSettings()

    @property
    def behind_proxy(self) -> bool:
        """A proxy stands in front, which calls can take."""
        return bool(self.outbound_proxy or self.service_route or self.trusted_peers)

    @property
    def own_names(self) -> frozenset[str]:
        """User parts of the server's own addresses."""
        return frozenset((self.buddy_list, self.assistant)) - {""}

    @field_validator("buddy_list", "assistant")
    @classmethod
    def _local(cls, value: str) -> str:
        return canonical_local(value) if value else value

    @field_validator("outbound_proxy", "service_route")
    @classmethod
    def _uri(cls, value: str | tuple[str, ...]) -> str | tuple[str, ...]:
        for text in (value,) if isinstance(value, str) else value:
            if text:
                sip_uri(text)
        return value

    @field_validator("unlimited", "web_trusted_proxies")
    @classmethod
    def _networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        Exempt(value)
        return value

    @field_validator("xcap_root", "file_transfer")
    @classmethod
    def _paths(cls, value: str, info: ValidationInfo) -> str:
        path = urlsplit(value).path or "/" if info.field_name == "xcap_root" else value
        if value and _PATH.fullmatch(path) is None:
            raise ValueError("a path is wanted, such as /phones/files")
        return value

    @field_validator("listen_udp", "listen_tcp", "listen_tls", "listen_web", "listen_web_tls", "nameservers")
    @classmethod
    def _addresses(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for text in value:
            split_listen(text)
        return value


def sip_uri(value: str) -> str:
    """Raises `ValueError` for what is no SIP URI."""
    try:
        if parse_uri(value).scheme not in ("sip", "sips"):
            raise ValueError(f"{value!r} is no SIP URI")
    except BadUri as error:
        raise ValueError(f"{value!r}: {error}") from None
    return value
