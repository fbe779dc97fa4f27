"""What `tandem run` does in a process: the supervisor's, or that of one role."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import structlog

from gateway import config, demo
from gateway import log as logging
from gateway.alone import alone
from gateway.cli.app import err
from gateway.config import Role, Settings
from gateway.exits import Exit
from gateway.listeners import listeners, on_loopback
from gateway.node import Node
from gateway.readiness import die_with_supervisor, ready
from gateway.supervisor import GRACE, Supervisor, role_commands
from gateway.wiring import DOORS, backend, make_state_dir, prepare, valkey_dir, web
from presence.edge.accounts import account_problems
from presence.edge.embedded import EmbeddedValkey
from presence.errors import Unavailable

log = structlog.get_logger()

_BEHIND = 5
"How much the process that writes the archive gives way to those that serve clients (nice)."


def placed(settings: Settings) -> Settings:
    """The demo listens on loopback and keeps its screen clean, unless told otherwise."""
    if not settings.demo:
        return settings
    if "level" not in settings.log.model_fields_set:
        settings = settings.model_copy(update={"log": settings.log.model_copy(update={"level": "warning"})})
    return on_loopback(settings)


def supervise(settings: Settings, file: Path | None) -> Exit:
    """All roles in processes of their own, until a signal."""
    settings = placed(settings)
    logging.configure(settings.log.level, settings.log.format, node="supervisor")
    try:
        make_state_dir(settings)
        with alone(settings.state_dir, "supervisor", "stop that one, or name another directory"):
            prepare(settings)
            wrong = [problem for listener in listeners(settings) if (problem := listener.problem())]
            wrong += [*account_problems(settings.accounts), *demo.problems(settings)]
            if wrong:
                raise config.ConfigError(wrong)
            return _run(_supervise(settings, file))
    except config.ConfigError as error:
        return _refuse(error)


async def _supervise(settings: Settings, file: Path | None) -> Exit:
    try:
        if settings.bus.url:
            return await _supervise_on_bus(settings, file)
        embedded = EmbeddedValkey(valkey_dir(settings), durability=settings.bus.durability)
        async with embedded:
            kept = asyncio.ensure_future(embedded.run())
            try:
                return await _supervise_on_bus(settings, file)
            finally:
                kept.cancel()
    except Unavailable as error:
        err.print(str(error), style="red", markup=False)
        return Exit.NOT_RUNNING


async def _supervise_on_bus(settings: Settings, file: Path | None) -> Exit:
    everyone = await _first_start(settings)

    def on_ready() -> None:
        if everyone:
            sys.stdout.write(demo.welcome(settings, everyone, _command()))
            sys.stdout.flush()

    commands = role_commands(settings, file)
    return await Supervisor(commands, drain=settings.processes.drain, on_ready=on_ready).run()


async def _first_start(settings: Settings) -> list[demo.Person]:
    """Tables and, in the demo, its people, before any process needs them."""
    made = backend(settings, "supervisor")
    try:
        await made.store.migrate()
        if not settings.demo:
            return []
        await made.connect()
        everyone = demo.people(settings)
        await demo.prepare(everyone, made.accounts, made.service)
        demo.write_phone(settings, everyone)
        return everyone
    finally:
        await made.close()


def serve(settings: Settings, file: Path | None, role: Role, index: int) -> Exit:
    """One role in this process."""
    supervised = die_with_supervisor()
    settings = placed(settings)
    name = f"{role}-{index}"
    if role is Role.ADMIN:
        os.nice(_BEHIND)
    logging.configure(settings.log.level, settings.log.format, node=name)
    # What a killed supervisor has left may still be saying goodbye to its clients.
    patience = settings.processes.drain + GRACE if supervised else 0.0
    try:
        make_state_dir(settings)
        with alone(settings.state_dir, name, "stop that one, or choose another --index", patience):
            prepare(settings)
            return _run(_serve(settings, file, role, name))
    except config.ConfigError as error:
        return _refuse(error)


async def _serve(settings: Settings, file: Path | None, role: Role, name: str) -> Exit:
    made = backend(settings, name)
    door = DOORS[role](settings, made)
    node = Node(
        role=role.value,
        backend=made,
        door=door,
        web=web(settings, role, door),
        drain=settings.processes.drain,
    )
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)

    async def reload() -> None:
        await _reload(settings, file, node, name)

    reloads = Serial(reload)
    loop.add_signal_handler(signal.SIGHUP, reloads.ask)

    def serving() -> None:
        # What start-up made lives as long as the process: the collector need not look at it again.
        gc.collect()
        gc.freeze()
        ready()

    gc.set_threshold(20_000, 20, 50)
    try:
        return await node.run(stop, serving)
    finally:
        await reloads.close()


async def _reload(running: Settings, file: Path | None, node: Node, name: str) -> None:
    """Certificates and logging; what else changed in the configuration needs a restart, and is named."""
    try:
        wanted = placed(config.load(file, demo=running.demo))
        prepare(wanted)
    except config.ConfigError as error:
        log.error("reload_refused", problems=error.problems)
        return
    logging.configure(wanted.log.level, wanted.log.format, node=name)
    await node.reload()
    fields = Settings.model_fields.keys() - {"log"}
    changed = sorted(field for field in fields if getattr(wanted, field) != getattr(running, field))
    if changed:
        log.warning("reloaded", needs_restart=",".join(changed))
    else:
        log.info("reloaded")


class Serial:
    """Runs a coroutine when asked, one at a time, asks during a run leading to one more."""

    def __init__(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._work = work
        self._asked = asyncio.Event()
        self._task = asyncio.ensure_future(self._loop())

    def ask(self) -> None:
        self._asked.set()

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])

    async def _loop(self) -> None:
        while True:
            await self._asked.wait()
            self._asked.clear()
            try:
                await self._work()
            except Exception:
                log.exception("reload_failed")


def _run(main: Coroutine[Any, Any, Exit]) -> Exit:
    """With uvloop where it is installed."""
    try:
        import uvloop
    except ImportError:
        factory = None
    else:
        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(main)


def _refuse(error: config.ConfigError) -> Exit:
    err.print("Tandem cannot start:", style="bold red")
    for problem in error.problems:
        err.print(f"  {problem}", markup=False, soft_wrap=True)
    setting = error.problems[0].partition(":")[0]
    if config.field_at(setting.split(".")) is not None:
        variable = config.PREFIX + setting.upper().replace(".", "__")
        err.print(
            f"Set it in tandem.toml, or as {variable} in the environment; `tandem config` explains all.",
            soft_wrap=True,
        )
    return Exit.CONFIG


def _command() -> str:
    """How the user calls us from the working directory."""
    called = Path(sys.argv[0])
    try:
        return str(called.absolute().relative_to(Path.cwd()))
    except ValueError:
        return "tandem"
