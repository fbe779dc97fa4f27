"""What every server under load has: people, ports, processes."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Iterable
from pathlib import Path

from tests.support.ports import free_port
from tests.support.processes import cpu_seconds, descendants
from tests.support.waiting import until

DOMAIN = "localhost"
PASSWORD = "load-secret"
HOST = "127.0.0.1"


class Contender:
    """One server with its default tuning at its best, as its operators would have it."""

    name = ""
    package = ""
    "Debian's, empty for our own."

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.xmpp = free_port()
        self.sip = free_port()
        self._process: asyncio.subprocess.Process | None = None

    def words(self) -> list[str]:
        """The command line, which stays in the foreground."""
        raise NotImplementedError

    def environment(self) -> dict[str, str] | None:
        return None

    async def start(self) -> None:
        with (self.folder / "output").open("ab") as output:
            self._process = await asyncio.create_subprocess_exec(
                *self.words(), cwd=self.folder, env=self.environment(), start_new_session=True,
                stdin=asyncio.subprocess.DEVNULL, stdout=output, stderr=output,
            )  # fmt: skip
        try:
            await until(f"{self.name} is up", self.is_up, 30)
        except AssertionError:
            raise AssertionError(f"{self.name} did not start:\n{self.printed()}") from None

    async def is_up(self) -> bool:
        """It takes connections."""
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection(HOST, self.xmpp)
            writer.close()
            return True
        return False

    async def stop(self) -> None:
        process, self._process = self._process, None
        if process is None or process.returncode is not None:
            return
        process.terminate()
        try:
            async with asyncio.timeout(15):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()

    def printed(self) -> str:
        return (self.folder / "output").read_text(errors="replace")[-3000:]

    # --- people -------------------------------------------------------------------------------------------

    async def add(self, names: Iterable[str]) -> None:
        """Accounts with `PASSWORD`."""
        raise NotImplementedError

    async def befriend(self, one: str, others: Iterable[str]) -> None:
        """Each of the others and the one see each other."""
        raise NotImplementedError

    # --- what it costs ------------------------------------------------------------------------------------

    def pids(self) -> list[int]:
        assert self._process is not None
        return [self._process.pid, *descendants(self._process.pid)]

    def cpu(self) -> float:
        """Seconds on a processor, of all its processes."""
        total = 0.0
        for pid in self.pids():
            with contextlib.suppress(OSError):
                total += cpu_seconds(pid)
        return total

    def memory(self) -> float:
        """Resident kB of all its processes, shared pages counted once (PSS)."""
        total = 0
        for pid in self.pids():
            with contextlib.suppress(OSError):
                found = re.search(
                    r"^Pss:\s+(\d+)", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE
                )
                total += int(found[1]) if found else 0
        return float(total)
