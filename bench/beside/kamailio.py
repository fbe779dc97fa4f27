"""Debian's Kamailio with its presence modules in memory: registrar, presence agent, page-mode messages, each
request authenticated."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterable
from pathlib import Path

from bench.beside.contender import DOMAIN, PASSWORD, Contender

_SQL = Path("/usr/share/kamailio/db_sqlite")
_CONFIG = """
#!KAMAILIO
debug=-1
log_stderror=yes
fork=yes
children=2
auto_aliases=no
disable_tcp=yes
listen=udp:{host}:{port}
alias="{domain}"
mpath="/usr/lib/x86_64-linux-gnu/kamailio/modules/"
loadmodule "tm.so"
loadmodule "sl.so"
loadmodule "rr.so"
loadmodule "pv.so"
loadmodule "maxfwd.so"
loadmodule "usrloc.so"
loadmodule "registrar.so"
loadmodule "textops.so"
loadmodule "siputils.so"
loadmodule "auth.so"
loadmodule "db_sqlite.so"
loadmodule "presence.so"
loadmodule "presence_xml.so"
modparam("usrloc", "db_mode", 0)
modparam("registrar", "max_contacts", 10)
modparam("auth", "nonce_expire", 3600)
modparam("auth", "qop", "auth")
modparam("presence", "db_url", "sqlite://{folder}/presence.sqlite")
modparam("presence", "subs_db_mode", 0)
modparam("presence", "publ_cache", 2)
modparam("presence", "server_address", "sip:{host}:{port}")
modparam("presence", "timeout_rm_subs", 0)
modparam("presence_xml", "db_url", "sqlite://{folder}/presence.sqlite")
modparam("presence_xml", "force_active", 1)
request_route {{
  if (!mf_process_maxfwd_header("10")) {{ sl_send_reply("483", "Too Many Hops"); exit; }}
  if (is_method("SUBSCRIBE") && has_totag()) {{ t_newtran(); handle_subscribe(); exit; }}
  if (!pv_www_authenticate("{domain}", "{password}", "0")) {{ www_challenge("{domain}", "1"); exit; }}
  if (is_method("REGISTER")) {{ save("location"); exit; }}
  if (is_method("PUBLISH")) {{ t_newtran(); handle_publish(); exit; }}
  if (is_method("SUBSCRIBE")) {{ t_newtran(); handle_subscribe(); exit; }}
  if (is_method("MESSAGE")) {{
    if (!lookup("location")) {{ sl_send_reply("404", "Not Found"); exit; }}
    t_relay();
    exit;
  }}
  sl_send_reply("200", "OK");
}}
"""


class Kamailio(Contender):
    name = "Kamailio"
    package = "kamailio"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        text = _CONFIG.format(folder=folder, host=self.host, port=self.sip, domain=DOMAIN, password=PASSWORD)
        (folder / "kamailio.cfg").write_text(text)
        with sqlite3.connect(folder / "presence.sqlite") as database:
            for name in ("standard", "presence"):
                database.executescript((_SQL / f"{name}-create.sql").read_text())

    def words(self) -> list[str]:
        return [
            "kamailio",
            "-DD",
            "-E",
            "-f",
            str(self.directory / "kamailio.cfg"),
            "-Y",
            str(self.directory),
            "-m",
            "1024",
        ]

    async def is_up(self) -> bool:
        loop = asyncio.get_running_loop()
        answered: asyncio.Future[bytes] = loop.create_future()

        class Ask(asyncio.DatagramProtocol):
            def datagram_received(self, data: bytes, addr: object) -> None:
                if not answered.done():
                    answered.set_result(data)

        transport, _ = await loop.create_datagram_endpoint(Ask, remote_addr=(self.host, self.sip))
        host, port = transport.get_extra_info("sockname")[:2]
        transport.sendto(
            f"OPTIONS sip:{DOMAIN} SIP/2.0\r\nVia: SIP/2.0/UDP {host}:{port};branch=z9hG4bKup\r\n"
            f"From: <sip:up@{DOMAIN}>;tag=up\r\nTo: <sip:{DOMAIN}>\r\nCall-ID: up\r\nCSeq: 1 OPTIONS\r\n"
            "Content-Length: 0\r\n\r\n".encode()
        )
        try:
            async with asyncio.timeout(0.5):
                return (await answered).startswith(b"SIP/2.0")
        except (TimeoutError, OSError):
            return False
        finally:
            transport.close()

    async def add(self, names: Iterable[str]) -> None:
        """Everybody has the same password there."""

    async def befriend(self, one: str, others: Iterable[str]) -> None:
        """Everybody may see everybody there."""
