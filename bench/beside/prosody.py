"""Debian's Prosody with its generational collector; archive in SQLite, stream management, carbons."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from bench.beside.contender import DOMAIN, PASSWORD, Contender
from gateway import certs

_CONFIG = """
daemonize = false
run_as_root = true
pidfile = "{folder}/pid"
data_path = "{folder}/data"
certificates = "{folder}"
log = {{ warn = "{folder}/log" }}
interfaces = {{ "{host}" }}
c2s_ports = {{ {port} }}
gc = {{ mode = "generational" }}
network_backend = "epoll"
network_settings = {{ tcp_backlog = 512 }}
modules_enabled = {{
  "roster"; "saslauth"; "tls"; "disco"; "carbons"; "smacks"; "mam"; "ping"; "blocklist"; "pep"; "csi_simple";
  "vcard_legacy"; "private";
}}
modules_disabled = {{ "s2s"; "offline" }}
authentication = "internal_plain"
c2s_require_encryption = true
storage = {{ archive = "sql" }}
default_storage = "internal"
sql = {{ driver = "SQLite3", database = "{folder}/prosody.sqlite" }}
default_archive_policy = true
archive_expires_after = "never"
VirtualHost "{domain}"
  ssl = {{ certificate = "{folder}/cert.pem", key = "{folder}/key.pem" }}
"""


class Prosody(Contender):
    name = "Prosody"
    package = "prosody"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        certs.ensure_self_signed(folder / "cert.pem", folder / "key.pem", [DOMAIN])
        text = _CONFIG.format(folder=folder, host=self.host, port=self.xmpp, domain=DOMAIN)
        (folder / "prosody.cfg.lua").write_text(text)
        self._rosters: dict[str, list[str]] = {}

    def words(self) -> list[str]:
        return ["prosody", "-F", "--root", "--config", str(self.directory / "prosody.cfg.lua")]

    async def add(self, names: Iterable[str]) -> None:
        accounts = self.directory / "data" / DOMAIN / "accounts"
        accounts.mkdir(parents=True, exist_ok=True)
        for name in names:
            (accounts / f"{name}.dat").write_text(f'return {{ ["password"] = "{PASSWORD}"; }};\n')

    async def befriend(self, one: str, others: Iterable[str]) -> None:
        for other in others:
            self._rosters.setdefault(one, []).append(other)
            self._rosters.setdefault(other, []).append(one)
        folder = self.directory / "data" / DOMAIN / "roster"
        folder.mkdir(parents=True, exist_ok=True)
        for owner in (one, *self._rosters[one]):
            items = "".join(
                f'  ["{contact}@{DOMAIN}"] = {{ subscription = "both"; groups = {{}}; }};\n'
                for contact in self._rosters[owner]
            )
            (folder / f"{owner}.dat").write_text(f"return {{\n  [false] = {{ version = 1; }};\n{items}}};\n")
