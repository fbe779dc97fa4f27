"""Settings of the account backends."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from presence.edge.accounts.endpoint import parse_host_port
from presence.errors import Unavailable
from presence.guarding import Exempt, GuardRules


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    @field_validator("file", "secret_file", "ca_file", "token_file", mode="before", check_fields=False)
    @classmethod
    def _empty_is_none(cls, value: object) -> object:
        return None if value == "" else value


class UsersTxtSettings(_Section):
    """A reTurn `users.txt`: `login:password-or-HA1:realm:state`, one account a line."""

    file: Path | None = None
    "The file. It is read again when it changes."
    second_column: Literal["auto", "ha1", "plain"] = "auto"
    """What the second column has. `auto`: 32 hexadecimal digits are an HA1, anything else a password. Say
    `plain` where passwords may look like that."""
    domains: dict[str, str] = {}
    """Realm → domain, where they differ. Such accounts log in with PLAIN; a phone asks for the domain as
    realm, so it needs the plain password in the file."""


class RadiusSettings(_Section):
    """RADIUS with digest authentication (FreeRADIUS `rlm_digest`, RFC 5090)."""

    servers: tuple[str, ...] = ()
    "`HOST:PORT` or `[IPv6]:PORT`, best first; the next is asked when one does not answer."
    secret_file: Path | None = None
    "File with the secret shared with the servers; readable by Tandem only."
    form: Literal["sterman", "rfc5090"] = "sterman"
    "How digest attributes are written: `sterman` (draft-sterman-aaa-sip, FreeRADIUS) or `rfc5090`."
    username: Literal["local", "address"] = "local"
    "User-Name: `local` (alice) or `address` (alice@example.org)."
    timeout: float = Field(default=2.0, gt=0, le=30)
    "Seconds to wait for one answer."
    tries: int = Field(default=2, ge=1, le=10)
    "Times each server is asked."
    require_message_authenticator: bool = True
    """Take only answers that carry a Message-Authenticator (RFC 3579 §3.2; CVE-2024-3596). FreeRADIUS before
    3.2.5 sends one when its site says `update reply { Message-Authenticator := 0x00 }`."""
    cache: float = Field(default=30.0, ge=0, le=3600)
    "Seconds a right password is remembered, so that reconnecting clients do not ask again. 0: never."

    @field_validator("servers")
    @classmethod
    def _addresses(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for text in value:
            parse_host_port(text)
        return value


class LdapSettings(_Section):
    """LDAP: a password is right when a bind with it succeeds."""

    url: str = ""
    "`ldaps://HOST`, `ldap://HOST` (with StartTLS, unless the host is this machine)."
    dn: str = ""
    "Who binds: `uid={local},ou=people,dc=example,dc=org`. `{local}` and `{domain}` are the account's."
    timeout: float = Field(default=5.0, gt=0, le=60)
    "Seconds to connect, and to wait for an answer."
    ca_file: Path | None = None
    "CA certificates the server is checked with. Empty: the system's."


class HttpSettings(_Section):
    """A web service says whether a password is right: it gets `{"address", "password"}` as JSON."""

    url: str = ""
    "POST goes here: 2xx is right, 401, 403 and 404 are wrong, everything else is `ask again later`."
    token_file: Path | None = None
    "File with a bearer token to send along."
    timeout: float = Field(default=5.0, gt=0, le=60)
    "Seconds to wait for an answer."


class GuardSettings(_Section):
    """Failed logins, counted over all processes. Bans double each time; `tandem bans` shows and ends them."""

    window: int = Field(default=600, ge=10, le=86_400)
    "Seconds after the last failure in which failures add up."
    per_login: int = Field(default=10, ge=1)
    "Failures at one account from one network (an IPv4 address, an IPv6 /64) until it is banned from there."
    per_network: int = Field(default=30, ge=1)
    """Failures of one network at different accounts until it is banned. Of one account, the first three
    count."""
    per_account: int = Field(default=100, ge=1)
    """Failures at one account from everywhere until only networks that have known its password may try it."""
    longest_ban: float = Field(default=3600.0, ge=1)
    "Seconds a ban may last at most."
    exempt: tuple[str, ...] = ("127.0.0.0/8", "::1/128")
    "Networks that are never banned, such as a proxy's."

    @field_validator("exempt")
    @classmethod
    def _networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        Exempt(value)
        return value

    @property
    def rules(self) -> GuardRules:
        return GuardRules(
            window=self.window,
            per_login=self.per_login,
            per_network=self.per_network,
            per_account=self.per_account,
            longest_ban=self.longest_ban,
        )


class AccountSettings(_Section):
    """Where accounts and their passwords are kept."""

    backend: str = "sql"
    """The account backend: `sql` (Tandem's own database), `users_txt`, `radius`, `ldap`, `http`. See
    docs/accounts.md."""
    users_txt: UsersTxtSettings = UsersTxtSettings()
    radius: RadiusSettings = RadiusSettings()
    ldap: LdapSettings = LdapSettings()
    http: HttpSettings = HttpSettings()
    guard: GuardSettings = GuardSettings()


def read_secret(file: Path | None) -> bytes:
    """What the file has, without the newline at its end. Raises `Unavailable`."""
    try:
        secret = file.read_bytes().strip(b"\r\n") if file is not None else b""
    except OSError as error:
        raise Unavailable(f"{file}: {error.strerror}") from error
    if not secret:
        raise Unavailable("the file with the secret is not set or empty")
    return secret
