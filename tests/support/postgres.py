"""A real PostgreSQL for tests: Debian's binaries, a data directory of its own, reached over a unix socket."""

from __future__ import annotations

import asyncio
import itertools
import os
import pwd
import shutil
import signal
import tempfile
from pathlib import Path
from typing import Any

import pytest

BINARIES = "postgresql/*/bin"
"Below /usr/lib; not in PATH."
OWNER = "tandem"
_QUICK = ("fsync=off", "synchronous_commit=off", "full_page_writes=off", "shared_buffers=16MB")


class Postgres:
    """Started when the first database is asked for; each is new and empty."""

    def __init__(self) -> None:
        self._directory: Path | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._numbers = itertools.count(1)

    async def database(self) -> str:
        """The URL of a new database. Skips the test where PostgreSQL is not installed."""
        pytest.importorskip("asyncpg", reason="not installed: pip install tandem-gateway[postgres]")
        if self._process is None:
            await self._start(_binaries())
        name = f"tandem_{next(self._numbers)}"
        await self._ask(f"CREATE DATABASE {name}")
        return f"postgresql+asyncpg://{OWNER}@/{name}?host={self._directory}"

    async def stop(self) -> None:
        """Without waiting for clients that are still connected."""
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(signal.SIGINT)
            await self._process.wait()
        if self._directory is not None:
            shutil.rmtree(self._directory)

    async def _start(self, binaries: Path) -> None:
        # pytest's own directories are closed to other users, and longer than a socket's path may be.
        directory = self._directory = Path(tempfile.mkdtemp(prefix="tandem-postgres-"))
        options: dict[str, Any] = {"cwd": directory, "stdin": asyncio.subprocess.DEVNULL}
        if os.geteuid() == 0:  # PostgreSQL refuses root
            user = _unprivileged()
            os.chown(directory, user.pw_uid, user.pw_gid)
            options |= {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        with (directory / "log").open("wb") as output:
            options |= {"stdout": output, "stderr": output}
            made = await asyncio.create_subprocess_exec(
                str(binaries / "initdb"), "--pgdata", str(directory / "data"), "--username", OWNER,
                "--auth", "trust", "--encoding", "UTF8", "--locale", "C.UTF-8", "--no-sync",
                **options,
            )  # fmt: skip
            assert await made.wait() == 0, self.printed()
            settings = [word for each in _QUICK for word in ("-c", each)]
            self._process = await asyncio.create_subprocess_exec(
                str(binaries / "postgres"), "-D", str(directory / "data"), "-k", str(directory),
                "-c", "listen_addresses=", *settings,
                **options,
            )  # fmt: skip
        await self._up()

    async def _up(self) -> None:
        import asyncpg

        from tests.support.waiting import until

        async def answers() -> bool:
            assert self._process is not None
            assert self._process.returncode is None, self.printed()
            try:
                await self._ask("SELECT 1")
            except (OSError, asyncpg.PostgresError):
                return False
            return True

        await until("PostgreSQL is up", answers, 30.0, pause=0.1)

    async def _ask(self, question: str) -> None:
        import asyncpg

        connection = await asyncpg.connect(host=str(self._directory), user=OWNER, database="postgres")
        try:
            await connection.execute(question)
        finally:
            await connection.close()

    def printed(self) -> str:
        """What it wrote."""
        assert self._directory is not None
        return (self._directory / "log").read_text(errors="replace")[-4000:]


def _binaries() -> Path:
    """The newest version's."""
    found = [path for path in Path("/usr/lib").glob(BINARIES) if (path / "initdb").exists()]
    if not found:
        pytest.skip("not installed: apt install postgresql")
    return max(found, key=lambda path: [int(part) for part in path.parent.name.split(".")])


def _unprivileged() -> pwd.struct_passwd:
    try:
        return pwd.getpwnam("postgres")
    except KeyError:
        return pwd.getpwnam("nobody")
