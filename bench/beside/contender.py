"""What every server under load has: people, ports, processes."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable
from pathlib import Path

from tests.interop.servers import Server
from tests.support.processes import cpu_seconds, descendants

DOMAIN = "localhost"
PASSWORD = "load-secret"


class Contender(Server):
    """One server with its default tuning at its best, as its operators would have it."""

    name = ""
    package = ""
    "Debian's, empty for our own."
    grace = 15.0

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.xmpp = self.sip = self.port
        "Where clients and phones come."

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
        """Resident kB of all its processes that are in no file: what other processes have mapped of the same
        libraries changes nothing. Shared pages are counted once (PSS)."""
        total = 0
        for pid in self.pids():
            with contextlib.suppress(OSError):
                rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
                total += sum(map(int, re.findall(r"^Pss_(?:Anon|Shmem):\s+(\d+)", rollup, re.MULTILINE)))
        return float(total)
