"""`gateway.supervisor`: real child processes that die, refuse, hang and obey."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

from gateway.config import Settings
from gateway.exits import Exit
from gateway.supervisor import Supervisor, role_commands

PRELUDE = """
import os, pathlib, signal, sys, time
here = pathlib.Path(sys.argv[1])
with open(here / "starts", "a") as starts:
    starts.write("x")
count = len((here / "starts").read_text())
def ready():
    os.write(int(os.environ["TANDEM_READY_FD"]), b"ready")
"""
OBEYS = """
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
signal.signal(signal.SIGHUP, lambda *_: (here / "reloaded").touch())
ready()
while True: signal.pause()
"""


def first_time(what: str) -> str:
    """A script that ends so at its first start, and obeys at its second."""
    return f"if count == 1: {what}\n(here / 'second').touch()\n{OBEYS}"


class Stage:
    """A supervisor over one child per script, each with a directory to leave traces in."""

    def __init__(
        self,
        root: Path,
        scripts: dict[str, str],
        *,
        drain: float = 5.0,
        grace: float = 2.0,
        patience: float = 0.5,
    ) -> None:
        self.root = root
        self.ready = asyncio.Event()
        for name in scripts:
            (root / name).mkdir()
        commands = {
            name: [sys.executable, "-c", PRELUDE + script, str(root / name)]
            for name, script in scripts.items()
        }
        self.supervisor = Supervisor(
            commands, drain=drain, on_ready=self.ready.set, grace=grace, patience=patience
        )

    def starts(self, name: str) -> int:
        return len((self.root / name / "starts").read_text())

    def start(self) -> asyncio.Task[Exit]:
        return asyncio.ensure_future(self.supervisor.run())


async def appeared(path: Path) -> None:
    async with asyncio.timeout(30):
        while not await asyncio.to_thread(path.exists):  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def send(number: int) -> None:
    os.kill(os.getpid(), number)


async def test_ready_is_told_when_all_serve_and_sigterm_stops_all(tmp_path: Path) -> None:
    stage = Stage(tmp_path, {"xmpp-1": OBEYS, "sip-1": OBEYS})
    async with asyncio.timeout(30):
        running = stage.start()
        await stage.ready.wait()
        send(signal.SIGTERM)
        assert await running is Exit.OK
    assert (stage.starts("xmpp-1"), stage.starts("sip-1")) == (1, 1)


async def test_a_child_that_dies_is_started_again_and_the_others_stay(tmp_path: Path) -> None:
    stage = Stage(tmp_path, {"xmpp-1": first_time("ready(); os.kill(os.getpid(), 9)"), "sip-1": OBEYS})
    async with asyncio.timeout(30):
        running = stage.start()
        await appeared(tmp_path / "xmpp-1" / "second")
        await stage.ready.wait()
        send(signal.SIGTERM)
        assert await running is Exit.OK
    assert (stage.starts("xmpp-1"), stage.starts("sip-1")) == (2, 1)


async def test_a_child_that_cannot_start_for_good_ends_everything_with_its_code(tmp_path: Path) -> None:
    stage = Stage(tmp_path, {"xmpp-1": OBEYS, "sip-1": "sys.exit(78)"})
    async with asyncio.timeout(30):
        assert await stage.start() is Exit.CONFIG
    assert not stage.ready.is_set()
    assert stage.starts("sip-1") == 1


async def test_a_permanent_code_after_it_served_is_a_death_like_any_other(tmp_path: Path) -> None:
    stage = Stage(tmp_path, {"sip-1": first_time("ready(); sys.exit(78)")})
    async with asyncio.timeout(30):
        running = stage.start()
        await appeared(tmp_path / "sip-1" / "second")
        send(signal.SIGTERM)
        await running
    assert stage.starts("sip-1") == 2


async def test_sighup_reaches_every_child(tmp_path: Path) -> None:
    stage = Stage(tmp_path, {"xmpp-1": OBEYS, "sip-1": OBEYS})
    async with asyncio.timeout(30):
        running = stage.start()
        await stage.ready.wait()
        send(signal.SIGHUP)
        for name in ("xmpp-1", "sip-1"):
            await appeared(tmp_path / name / "reloaded")
        send(signal.SIGTERM)
        assert await running is Exit.OK


DEAF = "signal.signal(signal.SIGTERM, signal.SIG_IGN)\nready()\nwhile True: signal.pause()"


async def test_a_second_sigterm_kills(tmp_path: Path) -> None:
    stage = Stage(tmp_path, {"xmpp-1": DEAF}, drain=600, patience=0)
    async with asyncio.timeout(30):
        running = stage.start()
        await stage.ready.wait()
        send(signal.SIGTERM)
        await asyncio.sleep(0)
        send(signal.SIGTERM)
        assert await running is Exit.FAILED


async def test_a_child_that_does_not_stop_in_time_is_killed(tmp_path: Path) -> None:
    stage = Stage(tmp_path, {"xmpp-1": DEAF}, drain=0.1, grace=0.0)
    async with asyncio.timeout(30):
        running = stage.start()
        await stage.ready.wait()
        send(signal.SIGTERM)
        assert await running is Exit.FAILED


def test_every_configured_process_has_its_command() -> None:
    settings = Settings.model_validate({"processes": {"xmpp": 2, "sip": 1, "admin": 0}})
    commands = role_commands(settings, Path("/etc/tandem/tandem.toml"))
    assert list(commands) == ["xmpp-1", "xmpp-2", "sip-1"]
    assert commands["xmpp-2"][1:] == [
        *("-m", "gateway", "--config", "/etc/tandem/tandem.toml"),
        *("run", "--no-demo", "--only", "xmpp", "--index", "2"),
    ]


async def test_an_echo_of_the_first_sigterm_does_not_kill(tmp_path: Path) -> None:
    slow = "signal.signal(signal.SIGTERM, lambda *_: (time.sleep(0.2), sys.exit(0)))\nready()\nsignal.pause()"
    stage = Stage(tmp_path, {"xmpp-1": slow}, patience=60)
    async with asyncio.timeout(30):
        running = stage.start()
        await stage.ready.wait()
        send(signal.SIGTERM)
        await asyncio.sleep(0)
        send(signal.SIGTERM)
        assert await running is Exit.OK
