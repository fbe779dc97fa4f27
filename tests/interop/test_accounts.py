"""One person, one password, every door: XMPP clients, a terminal client, a desk phone and the TURN relay."""

from __future__ import annotations

import hashlib
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import Element

import pytest

from tests.interop.bitlbee import Bitlbee
from tests.interop.programs import need, run
from tests.interop.servers import SECRET, Coturn, FreeRadius
from tests.support.inbox import PATIENCE
from tests.support.ports import one_of
from tests.support.sipclient import Phone
from tests.support.tandem import DOMAIN, Tandem
from tests.support.waiting import until
from tests.support.xmppclient import Client, LoginFailed

pytestmark = pytest.mark.interop

ALICE = f"alice@{DOMAIN}"
PASSWORD = "Wonderland-7"
HA1 = hashlib.md5(f"alice:{DOMAIN}:{PASSWORD}".encode()).hexdigest()
HOST = "127.0.0.1"
BITLBEE = range(5220, 5230)
"Ports it connects to."


@dataclass(frozen=True)
class Town:
    tandem: Tandem
    folder: Path

    @property
    def xmpp(self) -> tuple[str, int]:
        return HOST, self.tandem.xmpp_port

    @property
    def narrow(self) -> tuple[str, int]:
        """Where BitlBee may connect to: it knows few ports."""
        listen = self.tandem.environment["TANDEM_XMPP__LISTEN"]
        return HOST, int(listen.rpartition(":")[2])

    @property
    def sip(self) -> tuple[str, int]:
        return HOST, self.tandem.sip_port

    def client(self, password: str = PASSWORD, mechanism: str = "") -> Client:
        return Client(ALICE, password, self.xmpp, mechanism=mechanism)

    def phone(self, password: str = PASSWORD, **options: object) -> Phone:
        return Phone(ALICE, password, self.sip, **options)  # type: ignore[arg-type]


@asynccontextmanager
async def running(folder: Path, **settings: str) -> AsyncIterator[Town]:
    tandem = Tandem(folder / "tandem", **{"SIP__MIN_EXPIRES": "2", **settings})
    tandem.environment["TANDEM_XMPP__LISTEN"] += f",{HOST}:{one_of(BITLBEE)}"
    try:
        await tandem.start()
        yield Town(tandem, folder)
    finally:
        await tandem.stop()


def users_txt(folder: Path, *lines: str) -> dict[str, str]:
    file = folder / "users.txt"
    file.write_text("".join(f"{line}\n" for line in lines))
    return {"ACCOUNTS__BACKEND": "users_txt", "ACCOUNTS__USERS_TXT__FILE": str(file)}


def radius(folder: Path, *servers: str) -> dict[str, str]:
    secret = folder / "radius-secret"
    secret.write_text(SECRET)
    return {
        "ACCOUNTS__BACKEND": "radius",
        "ACCOUNTS__RADIUS__SERVERS": ",".join(servers),
        "ACCOUNTS__RADIUS__SECRET_FILE": str(secret),
        "ACCOUNTS__RADIUS__TIMEOUT": "0.5",
        "ACCOUNTS__RADIUS__TRIES": "1",
    }


async def registers(phone: Phone) -> int:
    return (await phone.register()).status


async def refused(client: Client) -> str:
    with pytest.raises(LoginFailed) as caught:
        await client.login()
    return str(caught.value)


async def everyone_gets_in(town: Town) -> None:
    """Clients with SCRAM and without, a phone that knows MD5 only, and nobody with another password."""
    async with town.phone(algorithms=("MD5",)) as phone:
        assert await registers(phone) == 200
    async with town.client():
        pass
    async with town.client(mechanism="PLAIN"):
        pass
    async with Bitlbee(town.folder / "bitlbee") as terminal:
        assert "Logged in" in await terminal.log_in(ALICE, PASSWORD, town.narrow)
    await refused(town.client(password="wrong"))
    async with town.phone(password="wrong") as phone:
        assert await registers(phone) in (401, 403)
    async with Bitlbee(town.folder / "stranger") as terminal:
        assert "Logged in" not in await terminal.log_in(ALICE, "wrong", town.narrow)


async def relays(folder: Path, relay: Coturn, username: str, password: str) -> bool:
    words = ("turnutils_uclient", "-y", "-n", "1", "-m", "1", "-u", username, "-w", password)
    code, output = await run(*words, "-p", str(relay.port), HOST, cwd=folder)
    return code == 0 and "Cannot complete Allocation" not in output


async def test_one_users_txt_opens_xmpp_sip_and_turn(tmp_path: Path) -> None:
    need("bitlbee", "turnserver", "turnutils_uclient")
    line = f"alice:{HA1}:{DOMAIN}:authorized"
    async with running(tmp_path, **users_txt(tmp_path, line)) as town:
        await everyone_gets_in(town)
        exported = await town.tandem.command("user", "export", "--format", "coturn")
        assert f"user=alice:0x{HA1}" in exported
        log = town.tandem.log.read_text()
    async with Coturn(tmp_path / "coturn", DOMAIN, users={"alice": HA1}) as relay:
        assert await relays(tmp_path, relay, "alice", PASSWORD)
        assert not await relays(tmp_path, relay, "alice", "wrong")
    assert PASSWORD not in log
    assert HA1 not in log


async def test_freeradius_opens_xmpp_and_sip_and_a_shared_secret_the_relay(tmp_path: Path) -> None:
    need("bitlbee", "freeradius", "turnserver", "turnutils_uclient")
    users = {"alice": f'Cleartext-Password := "{PASSWORD}"'}
    async with (
        FreeRadius(tmp_path / "freeradius", users) as server,
        Coturn(tmp_path / "coturn", DOMAIN, secret="north") as relay,
        running(
            tmp_path,
            **radius(tmp_path, server.address),
            XMPP__RELAYS=f"turn:{HOST}:{relay.port}",
            XMPP__RELAY_SECRET="north",
        ) as town,
    ):
        await everyone_gets_in(town)
        async with town.client() as alice:
            query = alice.xmpp.make_iq_get(ito=DOMAIN)
            query.append(Element("{urn:xmpp:extdisco:2}services"))
            answer = await query.send()
            service = answer.xml[0][0].attrib
        assert await relays(tmp_path, relay, service["username"], service["password"])
        assert not await relays(tmp_path, relay, service["username"], "wrong")
        assert PASSWORD not in town.tandem.log.read_text()


async def test_a_dead_radius_is_nobody_s_wrong_password(tmp_path: Path) -> None:
    need("freeradius")
    users = {"alice": f'Cleartext-Password := "{PASSWORD}"'}
    async with FreeRadius(tmp_path / "freeradius", users) as server:
        settings = radius(tmp_path, server.address)
        async with running(tmp_path, **settings, ACCOUNTS__RADIUS__CACHE="0") as town, town.phone() as phone:
            assert await registers(phone) == 200
            await server.stop()
            await refused(town.client())
            assert "condition=temporary-auth-failure" in town.tandem.log.read_text()
            answer = await phone.register()
            assert (answer.status, answer["Retry-After"] != "") == (500, True)
            await server.start()

            async def back() -> bool:
                return await registers(phone) == 200

            await until("RADIUS is asked again", back, 20.0, pause=0.3)


async def test_who_is_disabled_is_out_at_once_everywhere(tmp_path: Path) -> None:
    async with running(tmp_path) as town:
        await town.tandem.command("user", "add", ALICE, stdin=f"{PASSWORD}\n")
        async with town.phone() as phone, town.client() as alice:
            assert await registers(phone) == 200
            await town.tandem.command("user", "disable", ALICE)
            await until("her client is out", alice.disconnected.is_set, PATIENCE)

            async def nothing_left() -> bool:
                answer = await town.tandem.api("/api/sessions", address=ALICE)
                return not answer["sessions"]

            await until("no session and no binding is left", nothing_left, PATIENCE)
            assert await registers(phone) in (401, 403)
            await refused(town.client())
            await town.tandem.command("user", "enable", ALICE)
            assert await registers(phone) == 200


async def test_a_new_password_ends_what_began_with_the_old_one(tmp_path: Path) -> None:
    async with running(tmp_path) as town:
        await town.tandem.command("user", "add", ALICE, stdin=f"{PASSWORD}\n")
        async with town.phone() as phone, town.client() as alice:
            assert await registers(phone) == 200
            await town.tandem.command("user", "passwd", ALICE, stdin="another\n")
            await until("her client is out", alice.disconnected.is_set, PATIENCE)

            async def nothing_left() -> bool:
                answer = await town.tandem.api("/api/sessions", address=ALICE)
                return not answer["sessions"]

            await until("no session and no binding is left", nothing_left, PATIENCE)
            assert await registers(phone) in (401, 403)
            await refused(town.client())


async def test_who_leaves_the_file_is_out_of_it(tmp_path: Path) -> None:
    line = f"alice:{HA1}:{DOMAIN}:authorized"
    async with running(tmp_path, **users_txt(tmp_path, line)) as town, town.client() as alice:
        fresh = tmp_path / "fresh"
        fresh.write_text(line.replace("authorized", "refused") + "\n")
        fresh.replace(tmp_path / "users.txt")
        await until("her client is out", alice.disconnected.is_set, PATIENCE)
        await refused(town.client())


async def test_a_new_line_in_the_file_counts_at_sighup_and_interrupts_nobody(tmp_path: Path) -> None:
    line = f"alice:{HA1}:{DOMAIN}:authorized\n"
    async with running(tmp_path, **users_txt(tmp_path, line.strip())) as town:
        carol = f"carol@{DOMAIN}"
        async with town.client() as alice, town.phone() as phone, Phone(carol, PASSWORD, town.sip) as other:
            assert await registers(phone) == 200
            assert await registers(other) in (401, 403)
            before = town.tandem.pids()
            digest = hashlib.md5(f"carol:{DOMAIN}:{PASSWORD}".encode()).hexdigest()
            (tmp_path / "users.txt").write_text(f"{line}carol:{digest}:{DOMAIN}:authorized\n")
            os.kill(town.tandem.supervisor, signal.SIGHUP)
            await until("it is read again", lambda: "event=reloaded" in town.tandem.log.read_text(), PATIENCE)

            async def let_in() -> bool:
                return await registers(other) == 200

            await until("carol is known", let_in, PATIENCE)
            assert town.tandem.pids() == before
            assert not alice.disconnected.is_set()
            assert await registers(phone) == 200
        async with Client(carol, PASSWORD, town.xmpp):
            pass


async def test_who_guesses_is_banned_at_both_doors_until_it_is_lifted(tmp_path: Path) -> None:
    async with running(tmp_path, ACCOUNTS__GUARD__EXEMPT="[]", ACCOUNTS__GUARD__PER_LOGIN="3") as town:
        await town.tandem.command("user", "add", ALICE, stdin=f"{PASSWORD}\n")
        for _ in range(3):
            await refused(town.client(password="wrong", mechanism="PLAIN"))

        async def kept_out() -> bool:
            async with town.phone() as phone:
                return await registers(phone) == 403

        await until("the phone is kept out, too", kept_out, PATIENCE)
        await refused(town.client())
        listed = await town.tandem.command("bans", "list")
        assert f"{HOST} {ALICE}" in listed
        await town.tandem.command("bans", "lift", ALICE)

        async def let_in() -> bool:
            async with town.phone() as phone:
                return await registers(phone) == 200

        await until("the ban is over", let_in, PATIENCE)
        async with town.client():
            pass


async def test_an_import_keeps_everybody_s_password(tmp_path: Path) -> None:
    async with running(tmp_path) as town:
        file = tmp_path / "users.txt"
        file.write_text(f"alice:{HA1}:{DOMAIN}:authorized\n")
        assert "1 accounts added" in await town.tandem.command("user", "import", str(file))
        async with town.phone(algorithms=("MD5",)) as phone:
            assert await registers(phone) == 200
        async with town.client():
            pass
        async with town.client(mechanism="SCRAM-SHA-1"):
            pass
