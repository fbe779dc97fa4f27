"""`tandem run`: one process per role, started, watched, restarted with back-off, drained.

A child that cannot start for a permanent reason (a wrong setting, a port that is taken) ends everything with
its exit code; one that dies later is started again. SIGTERM and SIGINT drain, a second one kills; SIGHUP goes
to every child. Children die with the supervisor.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import structlog

from gateway.backoff import Backoff
from gateway.config import Role, Settings
from gateway.exits import PERMANENT, Exit
from gateway.readiness import READY_FD, SUPERVISOR_PID, notify

log = structlog.get_logger()

STEADY = 30.0
"Seconds a child must live for its back-off to start over."


GRACE = 2.0
"Seconds beyond the drain before a child that does not stop is killed."


PATIENCE = 0.5
"""Seconds within which a second SIGTERM is the first one's echo: a shell or `make` often passes on what the
terminal has sent to all."""


class Child:
    """One supervised process: start, wait for its end, start again."""

    def __init__(self, name: str, command: Sequence[str], on_ready: Callable[[], None]) -> None:
        self.name = name
        self.ready_once = False
        self._command = command
        self._on_ready = on_ready
        self._backoff = Backoff(first=0.1, longest=10.0)
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process and self._process.returncode is None else None

    def signal(self, number: int) -> None:
        """Send a signal if it lives."""
        if self.pid is not None:
            assert self._process is not None
            self._process.send_signal(number)

    async def keep(self, stopping: asyncio.Event) -> Exit:
        """Run until stopping; returns why it ended."""
        while True:
            started = time.monotonic()
            code = await self._once()
            if stopping.is_set():
                log.info("process_stopped", process=self.name, code=code)
                return Exit.OK if code in (0, -signal.SIGTERM) else Exit.FAILED
            if code in PERMANENT and not self.ready_once:
                return Exit(code)
            if time.monotonic() - started > STEADY:
                self._backoff.reset()
            wait = self._backoff.wait()
            log.error("process_died", process=self.name, code=code, restart_in=round(wait, 1))
            try:
                await asyncio.wait_for(stopping.wait(), wait)
            except TimeoutError:
                continue
            return Exit.OK

    async def _once(self) -> int:
        read, write = os.pipe()
        environment = {k: v for k, v in os.environ.items() if k != "NOTIFY_SOCKET"}
        environment |= {READY_FD: str(write), SUPERVISOR_PID: str(os.getpid())}
        try:
            self._process = await asyncio.create_subprocess_exec(
                *self._command,
                env=environment,
                pass_fds=(write,),
                stdin=asyncio.subprocess.DEVNULL,
                start_new_session=True,
            )
        except BaseException:
            os.close(read)
            raise
        finally:
            os.close(write)
        log.info("process_started", process=self.name, pid=self._process.pid)
        loop = asyncio.get_running_loop()
        loop.add_reader(read, self._pipe, read)
        try:
            return await self._process.wait()
        finally:
            loop.remove_reader(read)
            os.close(read)

    def _pipe(self, read: int) -> None:
        said = os.read(read, 64)
        if not said:
            asyncio.get_running_loop().remove_reader(read)
        elif not self.ready_once:
            self.ready_once = True
            self._on_ready()


def role_commands(settings: Settings, file: Path | None) -> dict[str, list[str]]:
    """Name and command line of every process the settings ask for."""
    config = ["--config", str(file.resolve())] if file else []
    demo = "--demo" if settings.demo else "--no-demo"
    base = [sys.executable, "-m", "gateway", *config, "run", demo]
    return {
        f"{role}-{index}": [*base, "--only", role.value, "--index", str(index)]
        for role in Role
        for index in range(1, settings.processes.count(role) + 1)
    }


class Supervisor:
    """All children, and the signals that concern them."""

    def __init__(
        self,
        commands: dict[str, list[str]],
        *,
        drain: float,
        on_ready: Callable[[], None],
        grace: float = GRACE,
        patience: float = PATIENCE,
    ) -> None:
        """`drain`: seconds the children may take to stop. `on_ready` is called once, when all serve."""
        self._drain = drain
        self._grace = grace
        self._patience = patience
        self._stopping_since = 0.0
        self._on_ready = on_ready
        self._stopping = asyncio.Event()
        self._children = [Child(name, command, self._child_ready) for name, command in commands.items()]

    async def run(self) -> Exit:
        """Until a signal, or until a child cannot start."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._terminate)
        loop.add_signal_handler(signal.SIGHUP, self._reload)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._keep(child)) for child in self._children]
            watcher = group.create_task(self._kill_late())
            await asyncio.wait(tasks)
            watcher.cancel()
        codes = [task.result() for task in tasks]
        return max(codes, default=Exit.OK)

    async def _keep(self, child: Child) -> Exit:
        code = await child.keep(self._stopping)
        if not self._stopping.is_set():
            log.error("process_cannot_start", process=child.name, code=int(code))
            self._terminate()
        return code

    async def _kill_late(self) -> None:
        await self._stopping.wait()
        await asyncio.sleep(self._drain + self._grace)
        self._signal_all(signal.SIGKILL)

    def _child_ready(self) -> None:
        if all(child.ready_once for child in self._children):
            log.info("ready", processes=len(self._children))
            notify("READY=1")
            self._on_ready()

    def _terminate(self) -> None:
        now = asyncio.get_running_loop().time()
        if self._stopping.is_set():
            if now - self._stopping_since >= self._patience:
                log.warning("killing")
                self._signal_all(signal.SIGKILL)
            return
        self._stopping_since = now
        log.info("stopping", drain=self._drain)
        notify("STOPPING=1")
        self._stopping.set()
        self._signal_all(signal.SIGTERM)

    def _reload(self) -> None:
        log.info("reloading")
        self._signal_all(signal.SIGHUP)

    def _signal_all(self, number: int) -> None:
        for child in self._children:
            child.signal(number)
