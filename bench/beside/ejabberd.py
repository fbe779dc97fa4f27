"""Debian's ejabberd without busy-waiting; archive in SQLite, stream management, carbons."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import httpx

from bench.beside.contender import DOMAIN, PASSWORD, Contender
from gateway import certs
from tests.support.ports import free_port

_CONFIG = """
hosts: ["{domain}"]
loglevel: warning
certfiles: ["{folder}/both.pem"]
default_db: mnesia
sql_type: sqlite
sql_database: "{folder}/ejabberd.sqlite"
auth_method: internal
auth_password_format: plain
shaper_rules: {{max_user_sessions: 100, max_user_offline_messages: 5000}}
api_permissions:
  "all": {{from: [mod_http_api], who: all, what: "*"}}
listen:
  - {{port: {port}, ip: "{host}", module: ejabberd_c2s, starttls_required: true, backlog: 512,
     max_stanza_size: 262144}}
  - {{port: {api}, ip: "{host}", module: ejabberd_http, request_handlers: {{/api: mod_http_api}}}}
modules:
  mod_roster: {{versioning: true}}
  mod_disco: {{}}
  mod_carboncopy: {{}}
  mod_stream_mgmt: {{}}
  mod_mam: {{db_type: sql, default: always}}
  mod_ping: {{}}
  mod_blocking: {{}}
  mod_privacy: {{}}
  mod_client_state: {{}}
  mod_vcard: {{}}
  mod_private: {{}}
  mod_caps: {{}}
  mod_pubsub: {{plugins: [flat, pep]}}
  mod_admin_extra: {{}}
  mod_http_api: {{}}
"""


class Ejabberd(Contender):
    name = "ejabberd"
    package = "ejabberd"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        certs.ensure_self_signed(folder / "cert.pem", folder / "key.pem", [DOMAIN])
        (folder / "both.pem").write_text((folder / "cert.pem").read_text() + (folder / "key.pem").read_text())
        self._api = free_port()
        text = _CONFIG.format(folder=folder, host=self.host, port=self.xmpp, api=self._api, domain=DOMAIN)
        (folder / "ejabberd.yml").write_text(text)
        for each in ("spool", "logs"):
            (folder / each).mkdir(exist_ok=True)

    def words(self) -> list[str]:
        paths = [str(each) for each in Path("/usr/lib").glob("*/*/ebin")]
        erl = ["erl", "-pa", *paths, "-noinput", "-sname", f"bench{self.xmpp}@localhost"]
        calm = ["+sbwt", "none", "+sbwtdcpu", "none", "+sbwtdio", "none"]
        return [*erl, "-mnesia", "dir", f'"{self.directory}/spool"', *calm, "-s", "ejabberd"]

    def environment(self) -> dict[str, str] | None:
        return os.environ | {
            "HOME": str(self.directory),
            "EJABBERD_CONFIG_PATH": str(self.directory / "ejabberd.yml"),
            "EJABBERD_LOG_PATH": str(self.directory / "logs" / "ejabberd.log"),
            "SPOOL_DIR": str(self.directory / "spool"),
        }

    async def add(self, names: Iterable[str]) -> None:
        async with httpx.AsyncClient(trust_env=False, timeout=30) as client:
            for name in names:
                await self._call(client, "register", user=name, host=DOMAIN, password=PASSWORD)

    async def befriend(self, one: str, others: Iterable[str]) -> None:
        async with httpx.AsyncClient(trust_env=False, timeout=30) as client:
            for other in others:
                for a, b in ((one, other), (other, one)):
                    await self._call(
                        client, "add_rosteritem", localuser=a, localserver=DOMAIN, user=b, server=DOMAIN,
                        nick=b, group="load", subs="both",
                    )  # fmt: skip

    async def _call(self, client: httpx.AsyncClient, command: str, **arguments: str) -> None:
        answer = await client.post(f"http://{self.host}:{self._api}/api/{command}", json=arguments)
        answer.raise_for_status()
