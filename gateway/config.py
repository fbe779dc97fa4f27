"""Every setting of Tandem in one model: TOML file, then environment, then the defaults declared here and in
the doors.

`TANDEM_SIP__UDP_PORT=5070` sets `sip.udp_port`. All mistakes are reported at once, each with the setting's
name and where it was set.
"""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from difflib import get_close_matches
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from gateway.certs import a_label
from gateway.log import LogFormat
from presence.address import canonical_domain
from presence.edge.accounts import AccountSettings
from presence.edge.embedded import Durability
from presence.edge.server import parse_server
from presence.errors import InvalidAddress
from presence.rooms.settings import RoomSettings
from sip.settings import SipSettings
from xmpp.settings import XmppSettings

PREFIX = "TANDEM_"
RESERVED = frozenset({"TANDEM_CONFIG", "TANDEM_READY_FD", "TANDEM_SUPERVISOR_PID"})
"Environment names that are not settings."
SYSTEM_FILE = Path("/etc/tandem/tandem.toml")
SYSTEM_STATE = Path("/var/lib/tandem")


class ConfigError(Exception):
    """The configuration cannot be used; `problems` names each setting, where it was set, and what is
    wrong."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class Role(StrEnum):
    """What one process does."""

    XMPP = "xmpp"
    SIP = "sip"
    ADMIN = "admin"


class Section(BaseModel):
    """A table of the configuration: unknown keys are errors, docstrings are the documentation."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ProcessSettings(Section):
    """How many processes the supervisor runs for each role, and how it treats them."""

    xmpp: int = Field(default=1, ge=0, le=64)
    "XMPP processes. More than one share the listening ports."
    sip: int = Field(default=1, ge=0, le=64)
    """SIP processes. More than one share the listening ports; a phone may come to any of them, and what it
    has subscribed to goes on there."""
    admin: int = Field(default=1, ge=0, le=1)
    "Admin processes: 1, or 0 to run without health, metrics and inspection."
    drain: float = Field(default=10.0, ge=0, le=600)
    "Seconds a stopping process may take to say goodbye to its peers before it is killed."

    def count(self, role: Role) -> int:
        return int(getattr(self, role.value))


class BusSettings(Section):
    """The Redis or Valkey server all processes share."""

    url: str = ""
    """Redis ≥ 7.0 or Valkey ≥ 8: `redis://HOST:6379/0`, `rediss://…`, `unix:///path`. Empty: an embedded
    Valkey under the state directory."""
    durability: Durability = Durability.EVERYSEC
    """Of the embedded Valkey: `memory` (lost when it stops), `everysec` (survives the death of any process; a
    host crash costs up to a second), `fsync` (on disk before it is acknowledged)."""

    @field_validator("url")
    @classmethod
    def _usable(cls, url: str) -> str:
        if url:
            parse_server(url)
        return url


class StoreSettings(Section):
    """The SQL database for accounts and rosters."""

    url: str = ""
    """SQLAlchemy URL: `sqlite+aiosqlite:////path`, `postgresql+asyncpg://USER@HOST/NAME`. Empty: SQLite under
    the state directory."""

    @field_validator("url")
    @classmethod
    def _usable(cls, url: str) -> str:
        if url:
            try:
                make_url(url).get_dialect().import_dbapi()
            except ArgumentError as error:
                raise ValueError(str(error)) from error
            except ImportError as error:
                extra = "; pip install tandem-gateway[postgres]" if error.name == "asyncpg" else ""
                raise ValueError(f"the driver {error.name} is not installed{extra}") from error
        return url


class ArchiveSettings(Section):
    """Messages kept for both parties, whichever protocol they spoke. Clients read them with XEP-0313."""

    enabled: bool = True
    "Keep messages. Switched off, what was kept is neither read nor deleted."
    days: float = Field(default=0, ge=0)
    "Days after which a message is deleted; 0: never."
    backlog: int = Field(default=200_000, ge=1000)
    "Messages that may wait to be written while the database is away. Beyond it new ones are refused."


class PolicySettings(Section):
    """Answers given where nobody can be asked."""

    phone: Literal["allow", "ask", "deny"] = "allow"
    """Who may see someone who has only a phone and so cannot answer: `allow` everybody of the own domains,
    `ask` (it waits until an XMPP client logs in), `deny`."""
    blocked: Literal["polite", "refuse"] = "polite"
    """What a phone is told that wants to see somebody who blocks its user. `polite`: they are never there
    (RFC 5025 §3.2.1); `refuse`: 403, and an end of what was seen before."""
    composition: Literal["priority", "newest", "busiest"] = "priority"
    """Which of a person's phones and clients comes first, and so speaks for them on a lamp: the one with the
    highest priority, the one that changed last, or the one that wants to be disturbed least."""


class CertificateFiles(Section):
    """A certificate of its own for one domain."""

    certificate: Path
    "PEM file with the chain."
    key: Path
    "PEM file with the private key; readable by Tandem only."


class TlsSettings(Section):
    """The certificates all doors show."""

    certificate: Path | None = None
    """PEM file with the chain. Empty: self-signed, made at the first start under the state directory. SIGHUP
    loads it anew."""
    key: Path | None = None
    "PEM file with the private key; readable by Tandem only."
    domains: dict[str, CertificateFiles] = {}
    """Domain → its own `certificate` and `key`, for clients that ask for it by name (SNI); all others are
    shown the certificate above."""

    @field_validator("domains")
    @classmethod
    def _names(cls, domains: dict[str, CertificateFiles]) -> dict[str, CertificateFiles]:
        try:
            return {canonical_domain(domain): files for domain, files in domains.items()}
        except InvalidAddress as error:
            raise ValueError(f"not a domain: {error}") from error

    @field_validator("certificate", "key", mode="before")
    @classmethod
    def _empty_is_none(cls, value: object) -> object:
        return None if value == "" else value


class AdminSettings(Section):
    """Health, metrics, and the API behind the inspection commands. Keep it on loopback; put a proxy with TLS
    before it otherwise."""

    host: str = "127.0.0.1"
    "Address to listen on."
    port: int = Field(default=9080, ge=0, le=65535)
    "TCP port; 0 takes a free one, which the commands find in the state directory."
    metrics_token: str = ""
    "Bearer token `/metrics` asks for. Empty: none is asked for."


class LogSettings(Section):
    """One line per life-cycle change, to standard error (docs/logging.md)."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    "Least severe level shown."
    format: LogFormat = LogFormat.TEXT
    "`text` (key=value) or `json`."


class EnvironmentSource(PydanticBaseSettingsSource):
    """`TANDEM_SECTION__NAME`: lists are comma-separated or JSON. Unknown names become errors like unknown
    keys of the file."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        return environment_values(os.environ)


class Settings(BaseSettings):
    """The whole configuration."""

    model_config = SettingsConfigDict(extra="forbid", frozen=True)

    domains: tuple[str, ...] = Field(default=("localhost",), min_length=1)
    "Domains whose people have their accounts here."
    state_dir: Path = Path(".tandem")
    """Where everything durable lives. Relative to the working directory; `/var/lib/tandem` when the file is
    /etc/tandem/tandem.toml."""
    demo: bool = False
    """First start makes the accounts alice and bob, each other's buddies, and every start prints how to log
    in. Listens on loopback only."""
    processes: ProcessSettings = ProcessSettings()
    bus: BusSettings = BusSettings()
    store: StoreSettings = StoreSettings()
    accounts: AccountSettings = AccountSettings()
    archive: ArchiveSettings = ArchiveSettings()
    policy: PolicySettings = PolicySettings()
    rooms: RoomSettings = RoomSettings()
    tls: TlsSettings = TlsSettings()
    xmpp: XmppSettings = XmppSettings()
    sip: SipSettings = SipSettings()
    admin: AdminSettings = AdminSettings()
    log: LogSettings = LogSettings()

    @field_validator("domains")
    @classmethod
    def _canonical(cls, domains: tuple[str, ...]) -> tuple[str, ...]:
        try:
            return tuple(dict.fromkeys(canonical_domain(domain.strip()) for domain in domains))
        except InvalidAddress as error:
            raise ValueError(f"not a domain: {error}") from error

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (EnvironmentSource(settings_cls), init_settings)

    @property
    def certificate(self) -> Path:
        """The configured file, or where the self-signed one is."""
        return self.tls.certificate or self.state_dir / "tls" / "self-signed.pem"

    @property
    def key(self) -> Path:
        return self.tls.key or self.state_dir / "tls" / "self-signed.key"

    @property
    def vapid_key(self) -> Path:
        """The configured file, or where the one is that was made here."""
        return self.sip.push.vapid_key or self.state_dir / "push" / "vapid.pem"

    @property
    def named_certificates(self) -> dict[str, tuple[Path, Path]]:
        """Name, as DNS writes it → certificate and key."""
        return {a_label(name): (files.certificate, files.key) for name, files in self.tls.domains.items()}

    @property
    def reserved(self) -> frozenset[str]:
        """Local parts of addresses at which phones find the server itself."""
        return self.sip.own_names if self.processes.sip else frozenset()

    @property
    def store_file(self) -> Path | None:
        """The database under the state directory, where none is configured."""
        return None if self.store.url else (self.state_dir / "tandem.sqlite").resolve()

    @property
    def store_url(self) -> str:
        return self.store.url or f"sqlite+aiosqlite:///{self.store_file}"


def environment_values(environ: Mapping[str, str]) -> dict[str, Any]:
    """The nested dictionary that the environment's `TANDEM_…` names spell."""
    values: dict[str, Any] = {}
    for name in sorted(environ):
        if not name.startswith(PREFIX) or name in RESERVED:
            continue
        path = name[len(PREFIX) :].lower().split("__")
        table = values
        for part in path[:-1]:
            table = table.setdefault(part, {})
            if not isinstance(table, dict):
                raise ConfigError([f"{name}: {part} is set as a whole by another variable"])
        table[path[-1]] = _decoded(environ[name], path)
    return values


def _decoded(text: str, path: list[str]) -> Any:
    field = field_at(path)
    if field is None or not _takes_list(field.annotation):
        return text
    if text.lstrip().startswith(("[", "{")):
        with suppress(ValueError):  # `[::]:5222` is no JSON but an address
            return json.loads(text)
    return [part.strip() for part in text.split(",") if part.strip()]


def _takes_list(annotation: Any) -> bool:
    origin = get_origin(annotation)
    if origin in (list, tuple, set, frozenset, dict):
        return True
    return any(_takes_list(argument) for argument in get_args(annotation))


def field_at(path: list[str]) -> FieldInfo | None:
    """The declaration of a setting by its path, None when there is none."""
    model: Any = Settings
    field: FieldInfo | None = None
    for part in path:
        if not (isinstance(model, type) and issubclass(model, BaseModel)):
            return None
        field = model.model_fields.get(part)
        if field is None:
            return None
        model = field.annotation
    return field


def find_file(explicit: Path | None = None) -> Path | None:
    """The file to read: asked for, then `TANDEM_CONFIG`, then ./tandem.toml, then /etc/tandem/tandem.toml."""
    asked = explicit or (Path(os.environ["TANDEM_CONFIG"]) if os.environ.get("TANDEM_CONFIG") else None)
    if asked is not None:
        return asked
    return next((path for path in (Path("tandem.toml"), SYSTEM_FILE) if path.is_file()), None)


def load(explicit: Path | None = None, **overrides: Any) -> Settings:
    """Read file and environment. `overrides` win over both. Raises `ConfigError` with everything that is
    wrong."""
    file = find_file(explicit)
    values = _read(file) if file else {}
    if file == SYSTEM_FILE:
        values.setdefault("state_dir", str(SYSTEM_STATE))
    environment = environment_values(os.environ)
    try:
        settings = Settings(**values)
    except ValidationError as error:
        raise ConfigError([_problem(item, environment, file) for item in error.errors()]) from error
    if problems := list(_contradictions(settings)):
        raise ConfigError(problems)
    return settings.model_copy(update={name: value for name, value in overrides.items() if value is not None})


def _contradictions(settings: Settings) -> Iterator[str]:
    """What is wrong with settings that are right each for itself."""
    if bool(settings.tls.certificate) != bool(settings.tls.key):
        yield "tls.certificate and tls.key: set both or neither"
    if both := set(settings.rooms.domains) & set(settings.domains):
        yield f"rooms.domains: {', '.join(sorted(both))}: a domain with accounts has no rooms"
    domains = [each.domain for each in settings.xmpp.components]
    for domain in sorted({each for each in domains if each in settings.domains or domains.count(each) > 1}):
        yield f"xmpp.components: {domain} is served already"
    for domain in settings.tls.domains:
        if domain not in settings.domains:
            yield f"tls.domains: {domain} is not among domains"
    if settings.sip.min_expires > settings.sip.max_expires:
        yield "sip.min_expires: greater than sip.max_expires"


def _read(file: Path) -> dict[str, Any]:
    try:
        with file.open("rb") as opened:
            return tomllib.load(opened)
    except OSError as error:
        raise ConfigError([f"{file}: {error.strerror}"]) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError([f"{file}: {error}"]) from error


def _problem(item: Any, environment: dict[str, Any], file: Path | None) -> str:
    path = [str(part) for part in item["loc"]]
    name = ".".join(path)
    here: Any = environment
    for part in path:
        here = here.get(part) if isinstance(here, dict) else here
    where = f"environment {PREFIX}{'__'.join(path).upper()}" if here is not None else str(file or "defaults")
    return f"{name}: {_told(item, name)} ({where})"


def _told(item: Any, name: str) -> str:
    if item["type"] == "extra_forbidden":
        meant = get_close_matches(name, list(_names(Settings, "")), 1, 0.8)
        return f"there is no such setting; {meant[0]} perhaps" if meant else "there is no such setting"
    if item["type"] == "tuple_type":
        return f"a list is wanted: [{json.dumps(item['input'], default=str)}]"
    if item["type"] in ("dict_type", "model_type", "model_attributes_type"):
        return f"a table is wanted: [{name}], or {{…}}"
    return str(item["msg"]).removeprefix("Value error, ")


def _names(model: type[BaseModel], path: str) -> Iterator[str]:
    """Every setting, e.g. `sip.listen_udp`, and every section."""
    for name, field in model.model_fields.items():
        yield f"{path}{name}"
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _names(field.annotation, f"{path}{name}.")
