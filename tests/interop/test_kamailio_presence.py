"""Kamailio as somebody else's registrar and call server: Tandem subscribes to its `reg` and `dialog`."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from presence.address import parse_address
from tests.conftest import FAST
from tests.interop.programs import need, run, sipp
from tests.interop.servers import Server
from tests.support.ports import free_port
from tests.support.sipclient import Phone, SilentServer
from tests.support.stage import Person, Stage, open_stage
from tests.support.tandem import DOMAIN, Tandem

pytestmark = pytest.mark.interop

HERE = Path(__file__).parent
MODULES = "/usr/lib/*/kamailio/modules/presence_reginfo.so"
TABLES = Path("/usr/share/kamailio/dbtext/kamailio")
BOB = Person(f"bob@{DOMAIN}", "secret-of-bob")


class Registrar(Server):
    """Kamailio with `pua_reginfo`, `pua_dialoginfo` and its presence agent, all in memory."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        shutil.copytree(TABLES, directory / "tables")

    def words(self) -> list[str]:
        here = f"127.0.0.1:{self.port}"
        defines = [
            f"HOSTPORT={here}",
            f'SELF="sip:{here}"',
            f'REGINFO="sip:reginfo@{here}"',
            f'TABLES="text://{self.directory}/tables"',
        ]
        words = ["kamailio", "-DD", "-E", "-f", str(HERE / "kamailio" / "registrar.cfg"), "-m", "32"]
        words += ["-w", str(self.directory), "-Y", str(self.directory), "-P", str(self.directory / "pid")]
        return [*words, *(word for define in defines for word in ("-A", define))]

    async def is_up(self) -> bool:
        async with Phone(f"probe@{DOMAIN}", "", ("127.0.0.1", self.port)) as probe:
            try:
                answer = await probe.request("OPTIONS", f"sip:probe@{DOMAIN}", patience=2)
            except SilentServer:
                return False
        return answer.status == 405

    def phone(self) -> Phone:
        return Phone(BOB.address, "", ("127.0.0.1", self.port))


@pytest.fixture
async def registrar(tmp_path: Path) -> AsyncIterator[Registrar]:
    need("kamailio", "sipp", MODULES)
    async with Registrar(tmp_path / "kamailio") as server:
        yield server


@pytest.fixture
async def played(registrar: Registrar, tmp_path: Path) -> AsyncIterator[tuple[Stage, Person]]:
    """A Tandem that follows Bob there, and Alice, his buddy."""
    server = f"sip:127.0.0.1:{registrar.port}"
    follow = [{"server": server, "events": ["reg", "dialog"], "addresses": [BOB.address]}]
    tandem = Tandem(tmp_path / "tandem", **FAST, SIP__FOLLOW=json.dumps(follow))
    async with open_stage(tandem, "127.0.0.1") as stage:
        alice = await stage.person("alice")
        await stage.accounts.add(parse_address(BOB.address), BOB.password)
        await stage.befriend(alice, BOB)
        yield stage, alice


async def test_a_phone_registered_there_is_online_here_until_it_leaves(
    registrar: Registrar, played: tuple[Stage, Person]
) -> None:
    stage, alice = played
    async with stage.client(alice) as desk, registrar.phone() as phone:
        assert (await phone.register()).status == 200
        await desk.online(BOB.address)
        assert (await phone.unregister()).status == 200
        await desk.offline(BOB.address)


async def test_who_is_in_a_call_there_is_on_the_phone_here_until_it_ends(
    registrar: Registrar, played: tuple[Stage, Person], tmp_path: Path
) -> None:
    stage, alice = played
    port = free_port()
    folder = tmp_path / "callee"
    folder.mkdir()
    async with stage.client(alice) as desk, registrar.phone() as phone, stage.phone(alice, "tcp") as lamp:
        await phone.register(contact=f"<sip:bob@127.0.0.1:{port}>")
        await desk.online(BOB.address)
        watch = await lamp.subscribe(BOB.address, event="dialog", Accept="application/dialog-info+xml")
        await watch.notified("free", lambda n: "<state>terminated</state>" in n.text)
        options = ("-i", "127.0.0.1", "-p", str(port), "-m", "1", "-nostdin", "-timeout", "40s")
        callee = asyncio.create_task(run("sipp", "-sn", "uas", *options, cwd=folder, patience=60))
        caller = asyncio.create_task(
            sipp(
                tmp_path,
                HERE / "sipp" / "call.xml",
                ("127.0.0.1", registrar.port),
                keys={"user": "bob", "domain": DOMAIN},
                # Kamailio's processes may bring the 180 after the 200, at which SIPp would give up.
                options=("-d", "5000", "-default_behaviors", "all,-abortunexp"),
            )
        )
        await desk.online(BOB.address, show="dnd", status="On the phone")
        await watch.notified("busy", lambda n: "<state>confirmed</state>" in n.text)
        await desk.online(BOB.address, show="")
        await watch.notified("free again", lambda n: "<state>terminated</state>" in n.text)
        await caller
        await callee


async def test_a_call_there_that_nobody_answers_is_missed_here(
    registrar: Registrar, played: tuple[Stage, Person], tmp_path: Path
) -> None:
    stage, alice = played
    port = free_port()
    folder = tmp_path / "callee"
    folder.mkdir()
    async with stage.client(BOB) as desk, stage.client(alice) as watcher, registrar.phone() as phone:
        await phone.register(contact=f"<sip:bob@127.0.0.1:{port}>")
        await watcher.online(BOB.address)
        options = ("-i", "127.0.0.1", "-p", str(port), "-m", "1", "-nostdin", "-timeout", "40s")
        scenario = ("-sf", str(HERE / "sipp" / "ring.xml"))
        callee = asyncio.create_task(run("sipp", *scenario, *options, cwd=folder, patience=60))
        await sipp(
            tmp_path,
            HERE / "sipp" / "unanswered.xml",
            ("127.0.0.1", registrar.port),
            keys={"user": "bob", "domain": DOMAIN},
        )
        await desk.hears("Missed call from sip:caller@elsewhere.test", DOMAIN)
        await callee
