"""The admin role: who may ask, what it answers, and the commands' view of it, over real HTTP on the bus in
memory."""

from __future__ import annotations

import asyncio
import json
import os
import re
import stat
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from gateway.admin import inquiry
from gateway.admin.contact import contact_file, read_contact, token_for
from gateway.admin.door import AdminDoor
from gateway.admin.resource import Desk
from gateway.config import Settings
from gateway.metrics import DictMetrics
from presence.address import parse_address
from presence.edge.accounts import AccountSettings, open_accounts
from presence.errors import Unavailable
from presence.guarding import Unguarded
from presence.memory import MemoryBus
from presence.model import PresenceTuple, Show, Source, Text
from presence.orders import Handling
from presence.ports import Ban, Inquiry, Lease, NodeInfo, SourceWrite, TraceEntry, Update
from presence.privacy import EVERY, Grant, Permissions
from presence.service import PresenceService
from presence.subscriptions import Act
from tests.support.stores import add_person, new_store

ALICE, BOB, CAROL = (parse_address(f"{name}@localhost") for name in ("alice", "bob", "carol"))
NOW = 1_000_000.0


class SwitchedOffBus(MemoryBus):
    """A bus that can be switched off."""

    down = False

    async def ping(self) -> float:
        if self.down:
            raise Unavailable("switched off")
        return await super().ping()


class Stage:
    """A running admin door, its bus and its people: alice and bob see each other, carol nobody."""

    def __init__(self, desk: Desk, bus: SwitchedOffBus) -> None:
        self.desk = desk
        self.bus = bus
        self.state_dir = desk.settings.state_dir

    async def get(self, path: str, *, token: str | None = None, **query: str) -> httpx.Response:
        contact = read_contact(self.state_dir)
        assert contact is not None
        headers = {"Authorization": f"Bearer {contact.token if token is None else token}"}
        async with httpx.AsyncClient(
            verify=False, base_url=contact.url, headers=headers, trust_env=False
        ) as client:
            return await client.get(path, params=query)

    async def beat(self, name: str, **metrics: float) -> None:
        role = name.partition("-")[0]
        await self.bus.join(
            NodeInfo(name=name, role=role, incarnation="i", started=NOW - 60, beat=NOW, metrics=metrics)
        )

    async def publish(self, show: Show, note: str) -> None:
        each = PresenceTuple(id="desk", show=show, notes=(Text(note),), since=NOW - 300)
        source = Source(id="xmpp:desk", tuples=(each,), since=NOW - 300)
        write = SourceWrite(source=source, lease=Lease(owner="xmpp-1/i"))
        await self.bus.commit(ALICE, Update(put_sources=(write,)), NOW)

    def hop(self, trace: str, after: float, node: str, hop: str, detail: str = "") -> None:
        entry = TraceEntry(
            trace=trace, at=NOW + after, node=node, hop=hop, address=str(BOB), peer=str(ALICE), detail=detail
        )
        self.bus.trace(entry)

    @asynccontextmanager
    async def node(self, name: str, *sessions: dict[str, Any]) -> AsyncIterator[None]:
        """Another node, which answers inquiries."""
        await self.beat(name)

        async def answer() -> None:
            while True:
                for envelope in await self.bus.receive(name, 5):
                    assert isinstance(envelope, Inquiry)
                    await inquiry.reply(self.bus, name, envelope, list(sessions))

        task = asyncio.ensure_future(answer())
        try:
            yield
        finally:
            task.cancel()

    async def command(self, *arguments: str, columns: int = 160) -> tuple[int, str]:
        """`tandem ARGUMENTS` as its user runs it: exit code, and what both outputs say."""
        environment = {k: v for k, v in os.environ.items() if not k.startswith("TANDEM_")}
        environment |= {"TANDEM_STATE_DIR": str(self.state_dir), "COLUMNS": str(columns), "TZ": "UTC"}
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "gateway", *arguments),
            cwd=Path(__file__).parents[2],
            env=environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await process.communicate()
        assert process.returncode is not None
        return process.returncode, output.decode()


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    settings = Settings.model_validate({"state_dir": tmp_path / "state", "admin": {"port": 0}})
    bus = SwitchedOffBus(clock=lambda: NOW)
    store = await new_store(tmp_path / "tandem.sqlite")
    accounts = open_accounts(AccountSettings(), store)
    service = PresenceService(
        node="admin-1",
        incarnation="i",
        domains=frozenset({"localhost"}),
        bus=bus,
        store=store,
        accounts=accounts,
        metrics=DictMetrics(),
        clock=lambda: NOW,
        phone_policy="deny",
    )
    for address in (ALICE, BOB, CAROL):
        await add_person(store, address, "secret")
        await accounts.seen_on_xmpp(address)
    for one, other in ((ALICE, BOB), (BOB, ALICE)):
        await service.act(one, other, Act.SUBSCRIBE)
        await service.act(other, one, Act.SUBSCRIBED)
    desk = Desk(
        settings=settings,
        node="admin-1",
        bus=bus,
        store=store,
        accounts=accounts,
        service=service,
        clock=lambda: NOW,
        token=token_for(settings.state_dir),
    )
    door = AdminDoor(desk)
    await door.start()
    stage = Stage(desk, bus)
    await stage.beat("admin-1")
    try:
        yield stage
    finally:
        await door.stop()
        await accounts.close()
        await store.close()


@pytest.mark.parametrize(
    "path",
    [
        "/api/sessions",
        "/api/presence/alice@localhost",
        "/api/who-sees?watcher=a@localhost&presentity=b@localhost",
        "/api/trace/x",
        "/api/bus",
    ],
)
@pytest.mark.parametrize("token", ["", "wrong", "ünicode"])
async def test_the_api_answers_nobody_without_its_token(stage: Stage, path: str, token: str) -> None:
    contact = read_contact(stage.state_dir)
    assert contact is not None
    headers = [(b"Authorization", b"Bearer " + token.encode())] if token else []
    async with httpx.AsyncClient(
        verify=False, base_url=contact.url, headers=headers, trust_env=False
    ) as client:
        response = await client.get(path)
    assert response.status_code == 401
    assert response.headers["www-authenticate"] == "Bearer"
    assert response.content == b""


def test_the_token_is_kept_over_restarts_in_a_private_file(stage: Stage) -> None:
    path = contact_file(stage.state_dir)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert token_for(stage.state_dir) == stage.desk.token
    assert len(stage.desk.token) >= 32


async def test_health_is_ok_when_both_doors_serve(stage: Stage) -> None:
    await stage.beat("xmpp-1")
    await stage.beat("sip-1")
    response = await stage.get("/health", token="none needed")
    assert (response.status_code, response.json()["status"]) == (200, "ok")


async def test_health_is_degraded_and_names_the_missing_role(stage: Stage) -> None:
    await stage.beat("xmpp-1")
    response = await stage.get("/health")
    assert (response.status_code, response.json()["status"]) == (200, "degraded")
    assert response.json()["missing"] == ["sip"]


async def test_health_is_503_when_no_door_serves(stage: Stage) -> None:
    response = await stage.get("/health")
    assert (response.status_code, response.json()["status"]) == (503, "down")


async def test_health_is_503_when_the_bus_is_gone(stage: Stage) -> None:
    await stage.beat("xmpp-1")
    await stage.beat("sip-1")
    stage.bus.down = True
    response = await stage.get("/health")
    assert response.status_code == 503
    assert response.json()["bus"] == {"ok": False, "error": "switched off"}


async def test_metrics_carry_every_node(stage: Stage) -> None:
    await stage.beat("xmpp-1", sessions=3)
    await stage.beat("sip-1", bindings=5)
    response = await stage.get("/metrics", token="none needed")
    names = {family.name for family in text_string_to_metric_families(response.text)}
    assert {"tandem_sessions", "tandem_bindings", "tandem_node_up"} <= names
    assert 'tandem_sessions{node="xmpp-1",role="xmpp"} 3' in response.text


async def test_presence_of_someone_unknown_is_404(stage: Stage) -> None:
    response = await stage.get("/api/presence/nobody@localhost")
    assert (response.status_code, response.json()) == (404, {"error": "there is no account nobody@localhost"})
    response = await stage.get("/api/presence/nobody@elsewhere.example")
    assert response.status_code == 404
    assert "not a domain of this gateway" in response.json()["error"]


async def test_presence_shows_document_and_bus_but_no_proof_of_a_password(stage: Stage) -> None:
    await stage.publish(Show.DND, "In a meeting")
    found = (await stage.get("/api/presence/alice@localhost")).json()
    assert found["online"] is True
    assert found["document"]["tuples"][0]["show"] == "dnd"
    assert found["bus"]["sources"]
    assert found["account"] == {"enabled": True, "phone_only": False}
    assert not re.search("ha1|scram|stored_key", json.dumps(found), re.IGNORECASE)


async def test_what_is_no_address_is_400(stage: Stage) -> None:
    response = await stage.get("/api/presence/a@b@c")
    assert response.status_code == 400


async def test_sessions_of_all_nodes_are_gathered_and_silent_nodes_named(stage: Stage) -> None:
    desk_phone = {"kind": "binding", "address": "bob@localhost", "contact": "sip:bob@192.0.2.1"}
    async with (
        stage.node("xmpp-1", {"kind": "xmpp", "jid": "alice@localhost/desk"}),
        stage.node("sip-1", desk_phone),
    ):
        found = (await stage.get("/api/sessions")).json()
        only_alice = (await stage.get("/api/sessions", address="alice@localhost")).json()
    assert found["silent"] == []
    assert {session["node"] for session in found["sessions"]} == {"xmpp-1", "sip-1"}
    assert [session["jid"] for session in only_alice["sessions"]] == ["alice@localhost/desk"]
    assert await stage.bus.records(inquiry.records_name("admin-1")) == {}


async def test_a_trace_is_told_in_order_and_an_unknown_one_is_404(stage: Stage) -> None:
    stage.hop("t1", 0.002, "sip-1", "sip.out")
    stage.hop("t2", 0.001, "xmpp-1", "xmpp.in")
    stage.hop("t1", 0.001, "xmpp-1", "xmpp.in")
    found = (await stage.get("/api/trace/t1")).json()
    assert [entry["hop"] for entry in found["entries"]] == ["xmpp.in", "sip.out"]
    assert (await stage.get("/api/trace/t9")).status_code == 404


# --- the commands ------------------------------------------------------------------------------------


async def test_presence_show_tells_state_note_and_time(stage: Stage) -> None:
    await stage.publish(Show.DND, "In a meeting")
    code, output = await stage.command("presence", "show", "alice@localhost")
    assert code == 0
    assert "alice@localhost is online" in output
    assert "desk: dnd, “In a meeting”, for 5 min" in output


async def test_who_sees_says_yes_why_and_where(stage: Stage) -> None:
    await stage.publish(Show.AWAY, "Lunch")
    async with stage.node("sip-1", {"kind": "dialog", "address": "bob@localhost", "event": "presence"}):
        code, output = await stage.command("who-sees", "bob@localhost", "alice@localhost")
    assert code == 0
    assert "bob@localhost sees alice@localhost: active, roster: both" in output
    assert "desk: away" in output
    assert "dialog at sip-1: event=presence" in output


async def test_who_sees_shows_no_more_than_the_watcher_sees(stage: Stage) -> None:
    await stage.publish(Show.AWAY, "Lunch")
    grant = Grant(Handling.ALLOW, Permissions(EVERY), ("bob@localhost",))
    await stage.desk.service.privacy.give(ALICE, (grant,))
    _, output = await stage.command("who-sees", "bob@localhost", "alice@localhost")
    assert "What there is to see (the rest is kept from them by rules):" in output
    assert "desk: available" in output
    assert "Lunch" not in output


async def test_who_sees_says_no_why_not_and_exits_with_1(stage: Stage) -> None:
    code, output = await stage.command("who-sees", "carol@localhost", "alice@localhost")
    assert code == 1
    assert output.startswith("carol@localhost does not see alice@localhost: ")


async def test_sessions_are_a_table(stage: Stage) -> None:
    session = {"kind": "xmpp", "jid": "alice@localhost/desk", "since": NOW - 90, "tls": "TLSv1.3"}
    async with stage.node("xmpp-1", session):
        code, output = await stage.command("sessions")
    assert code == 0
    (row,) = (line for line in output.splitlines() if "alice" in line)
    assert " ".join(row.split()) == "alice@localhost xmpp xmpp-1 90 s jid=alice@localhost/desk tls=TLSv1.3"


async def test_trace_tells_the_whole_way_with_times_between_hops(stage: Stage) -> None:
    stage.hop("t1", 0.0, "xmpp-1", "xmpp.in")
    stage.hop("t1", 0.0015, "sip-1", "sip.out", "200 OK")
    code, output = await stage.command("trace", "t1")
    assert code == 0
    people, _, first, second = output.splitlines()
    assert people == "alice@localhost → bob@localhost"
    assert " ".join(first.split()[1:]) == "0.0 ms 0.0 xmpp-1 xmpp.in"
    assert " ".join(second.split()[1:]) == "1.5 ms 1.5 sip-1 sip.out 200 OK"


async def test_on_a_narrow_screen_every_hop_and_session_is_one_line_all_the_same(stage: Stage) -> None:
    jid = "somebody.with.a.long.name@a-rather-long-domain.example.org/desk"
    stage.hop("t1", 0.0, "xmpp-1", "xmpp.in", jid)
    async with stage.node("xmpp-1", {"kind": "xmpp", "jid": jid, "since": NOW - 90, "tls": "TLSv1.3"}):
        _, sessions = await stage.command("sessions", columns=40)
    _, hops = await stage.command("trace", "t1", columns=40)
    assert len(sessions.splitlines()) == 2
    assert f"jid={jid} tls=TLSv1.3" in sessions
    assert hops.splitlines()[-1].endswith(f"xmpp.in  {jid}")


async def tail(stage: Stage, *options: str) -> Tail:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway", "bus", "tail", "--json", *options),
        cwd=Path(__file__).parents[2],
        env={**os.environ, "TANDEM_STATE_DIR": str(stage.state_dir), "PYTHONUNBUFFERED": "1"},
        stdout=asyncio.subprocess.PIPE,
    )
    return Tail(process)


class Tail:
    """A running `tandem bus tail --json`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def next(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        async with asyncio.timeout(30):
            found: dict[str, Any] = json.loads(await self._process.stdout.readline())
        return found

    async def __aenter__(self) -> Tail:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._process.kill()
        await self._process.wait()


async def test_bus_tail_begins_with_the_last_ten_hops_and_goes_on(stage: Stage) -> None:
    for number in range(12):
        stage.hop(f"t{number}", number / 10, "xmpp-1", "xmpp.in")
    async with await tail(stage) as following:
        assert [(await following.next())["trace"] for _ in range(10)] == [f"t{n}" for n in range(2, 12)]
        stage.hop("new", 2.0, "sip-1", "sip.in")
        assert (await following.next())["trace"] == "new"


async def test_bus_tail_begins_with_as_many_fitting_hops_as_it_is_told(stage: Stage) -> None:
    for number in range(6):
        stage.hop(f"t{number % 2}", number / 10, f"n-{number}", "xmpp.in")
    async with await tail(stage, "--trace", "t1", "-n", "2") as following:
        assert [(await following.next())["node"] for _ in range(2)] == ["n-3", "n-5"]


@pytest.mark.parametrize(
    "query", [{"after": "garbage"}, {"last": "-1"}, {"last": "99999"}, {"after": "1-1; x"}]
)
async def test_a_tail_from_nowhere_is_refused(stage: Stage, query: dict[str, str]) -> None:
    assert (await stage.get("/api/bus", **query)).status_code == 400


async def test_bus_tail_of_all_that_is_kept_is_one_line_a_hop(stage: Stage) -> None:
    stage.hop("t1", 0.0, "xmpp-1", "xmpp.in")
    stage.hop("t2", 0.5, "sip-1", "sip.in")
    async with await tail(stage, "--all", "--trace", "t2") as following:
        found = await following.next()
    assert (found["trace"], found["node"], found["hop"]) == ("t2", "sip-1", "sip.in")


async def test_commands_say_when_tandem_does_not_run(stage: Stage, tmp_path: Path) -> None:
    stage.state_dir = tmp_path / "elsewhere"
    code, output = await stage.command("sessions")
    assert code == 69
    assert "Tandem has not run here" in output


async def test_an_error_of_the_api_is_told_plainly(stage: Stage) -> None:
    code, output = await stage.command("presence", "show", "nobody@localhost")
    assert (code, output.strip()) == (1, "there is no account nobody@localhost")


async def test_bans_are_shown(stage: Stage) -> None:
    ban = Ban(kind="login", name="192.0.2.1 alice@localhost", until=NOW + 30)

    class Guarding(Unguarded):
        async def bans(self) -> list[Ban]:
            return [ban]

    stage.desk.service.guard = Guarding()
    answer = (await stage.get("/api/bans")).json()
    assert answer == {"now": NOW, "bans": [{"kind": ban.kind, "name": ban.name, "until": ban.until}]}
