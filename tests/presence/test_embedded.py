"""presence/edge/embedded.py and presence/edge/server.py: starting, attaching, and finding the server."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from presence.edge.embedded import (
    Durability,
    EmbeddedValkey,
    answers,
    find_server,
    socket_path,
    sync_appended,
)
from presence.edge.redis import RedisBus
from presence.edge.server import Server, parse_server
from presence.errors import Unavailable
from presence.messages import Accepted
from tests.support.buses import message
from tests.support.waiting import until

NOW = 1_800_000_000.0


async def test_the_data_is_there_again_after_a_restart(tmp_path: Path) -> None:
    for expected in (Accepted.STORED, Accepted.DUPLICATE):
        async with EmbeddedValkey(tmp_path) as url, RedisBus(url) as bus:
            name = "m1" if expected is Accepted.STORED else "m2"
            assert (await bus.submit(message(name), NOW, "branch")).accepted is expected


async def test_durability_memory_forgets(tmp_path: Path) -> None:
    for _ in range(2):
        async with EmbeddedValkey(tmp_path, durability="memory") as url, RedisBus(url) as bus:
            assert (await bus.submit(message(), NOW, "branch")).accepted is Accepted.STORED


async def test_fsync_is_what_the_server_is_told(tmp_path: Path) -> None:
    async with EmbeddedValkey(tmp_path, durability=Durability.FSYNC) as url, RedisBus(url) as bus:
        assert await bus._call("CONFIG", "GET", "appendfsync") == [b"appendfsync", b"always"]


async def test_everysec_hands_every_write_to_the_kernel_before_it_is_answered(tmp_path: Path) -> None:
    """Valkey's own `everysec` puts writes off while a large one before them is being synced."""
    for number in range(6):
        valkey = EmbeddedValkey(tmp_path)
        async with valkey as url, RedisBus(url) as bus:
            await bus.command("SET", "large", os.urandom(4_000_000))
            await bus.command("SET", "number", number)
            assert valkey.pid is not None
            os.kill(valkey.pid, signal.SIGKILL)
        async with EmbeddedValkey(tmp_path) as url, RedisBus(url) as bus:
            assert await bus.command("GET", "number") == str(number).encode()


async def test_what_was_appended_is_synced_while_files_come_and_go(tmp_path: Path) -> None:
    sync_appended(tmp_path)
    (tmp_path / "appendonlydir").mkdir()
    (tmp_path / "appendonlydir" / "appendonly.aof.1.incr.aof").write_bytes(b"*1")
    (tmp_path / "appendonlydir" / "appendonly.aof.2.incr.aof").symlink_to("gone")
    sync_appended(tmp_path)


async def test_nobody_else_can_open_the_socket(tmp_path: Path) -> None:
    async with EmbeddedValkey(tmp_path / "new") as url:
        assert os.stat(url.removeprefix("unix://")).st_mode & 0o777 == 0o700
        assert os.stat(tmp_path / "new").st_mode & 0o777 == 0o700


async def test_a_second_one_attaches_and_does_not_end_the_first(tmp_path: Path) -> None:
    first = EmbeddedValkey(tmp_path)
    async with first as url:
        second = EmbeddedValkey(tmp_path)
        async with second as same:
            assert same == url
            assert second.pid is None
        assert await answers(Path(url.removeprefix("unix://")))
    assert not await answers(Path(url.removeprefix("unix://")))


async def test_who_attached_takes_over_when_the_first_ends(tmp_path: Path) -> None:
    first, second = EmbeddedValkey(tmp_path), EmbeddedValkey(tmp_path)
    await first.__aenter__()
    async with second as url:
        supervision = asyncio.create_task(second.run())
        await first.stop()
        await until("the second runs its own", lambda: second.pid is not None, 30)
        async with RedisBus(url) as bus:
            assert await bus.ping() >= 0
        supervision.cancel()


ORPHAN = """
import asyncio, os, sys
from pathlib import Path
from presence.edge.embedded import EmbeddedValkey
async def main():
    valkey = EmbeddedValkey(Path(sys.argv[1]))
    await valkey.__aenter__()
    print(valkey.pid, flush=True)
    await asyncio.sleep(60)
asyncio.run(main())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="parent-death signals are Linux's")
async def test_the_server_dies_with_a_killed_parent_and_the_next_one_starts(tmp_path: Path) -> None:
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", ORPHAN, str(tmp_path), stdout=asyncio.subprocess.PIPE
    )
    assert parent.stdout is not None
    output = b""
    while not output.strip().isdigit():
        output = await parent.stdout.readline()
        assert output, "the parent ended early"
    parent.kill()
    await parent.wait()
    async with EmbeddedValkey(tmp_path) as url, RedisBus(url) as bus:
        assert await bus.ping() >= 0
    await until("the orphan is gone", lambda: not alive(int(output)), 30)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


async def test_a_killed_server_is_restarted_by_its_supervision(tmp_path: Path) -> None:
    valkey = EmbeddedValkey(tmp_path, lowest_pause=0.01)
    async with valkey:
        supervision = asyncio.create_task(valkey.run())
        await asyncio.sleep(0)
        first = valkey.pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        await until("another one runs", lambda: valkey.pid not in (None, first), 30)
        supervision.cancel()


@pytest.fixture
def short() -> Iterator[Path]:
    """A directory with a name short enough for sockets, which pytest's own are not."""
    with tempfile.TemporaryDirectory(prefix="tandem-") as name:
        yield Path(name)


async def test_a_long_directory_gets_a_short_private_socket(
    tmp_path: Path, short: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(short))
    deep = tmp_path / ("d" * 100)
    path = socket_path(deep)
    assert len(os.fsencode(path)) < 100
    assert path.parent.parent == short
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert socket_path(deep) == path
    assert socket_path(tmp_path / ("e" * 100)) != path
    path.parent.chmod(0o755)
    with pytest.raises(Unavailable, match="only its owner"):
        socket_path(deep)


async def test_a_server_that_cannot_start_says_where_to_look(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match=r"valkey\.log"):
        await EmbeddedValkey(tmp_path, server="/bin/false").__aenter__()


def test_no_server_binary_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(Unavailable, match=r"tandem-gateway\[embedded\]"):
        find_server()


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://", Server(hosts=(("127.0.0.1", 6379),))),
        ("redis://[::1]:7000/3", Server(hosts=(("::1", 7000),), db=3)),
        (
            "redis://me:p%40ss@bus.example.org",
            Server(hosts=(("bus.example.org", 6379),), user="me", password="p@ss"),
        ),
        ("unix:///run/valkey.sock?db=2", Server(path="/run/valkey.sock", db=2)),
        ("unix://:secret@/run/valkey.sock", Server(path="/run/valkey.sock", password="secret")),
        (
            "redis+sentinel://:pw@a,b:26380/mymaster/1",
            Server(hosts=(("a", 26379), ("b", 26380)), service="mymaster", password="pw", db=1),
        ),
    ],
)
def test_urls(url: str, expected: Server) -> None:
    assert parse_server(url) == expected


def test_rediss_is_tls_with_checked_certificates() -> None:
    tls = parse_server("rediss://bus.example.org").tls
    assert tls is not None
    assert tls.check_hostname


@pytest.mark.parametrize(
    "url",
    ["", "http://x", "unix://", "redis+sentinel://a", "redis://h/x", "redis+cluster://a", "redis://h:99999"],
)
def test_urls_that_cannot_be_used(url: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        parse_server(url)


def test_a_password_is_never_shown() -> None:
    for url in ("redis://u:hidden@h", "unix://:hidden@/s", "redis+sentinel://:hidden@h/m"):
        server = parse_server(url)
        assert "hidden" not in repr(server) + str(server)
