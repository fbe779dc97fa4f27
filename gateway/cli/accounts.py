"""The accounts, for commands: straight in their store; a running gateway is told over the bus."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import TypeVar

from gateway import config, log
from gateway.cli.app import err, fail
from gateway.cli.bus import has_bus
from gateway.exits import Exit
from gateway.wiring import Backend, backend, make_state_dir
from presence.errors import Refused, Unavailable
from presence.ports import AccountChanged, Accounts

T = TypeVar("T")


def with_accounts(chosen: config.Settings, use: Callable[[Accounts], Awaitable[T]]) -> T:
    """Do something with the accounts; what is wrong ends the command."""
    return with_store(chosen, lambda made: use(made.accounts))


def with_store(chosen: config.Settings, use: Callable[[Backend], Awaitable[T]]) -> T:
    """The same with all that needs no bus."""

    async def work() -> T:
        made = backend(chosen, "cli")
        try:
            await made.store.migrate()
            return await use(made)
        finally:
            await made.close()

    log.configure("warning", chosen.log.format, node="cli")
    try:
        make_state_dir(chosen)
        if chosen.store_file is not None and not chosen.store_file.exists():
            _new_database(chosen)
        return asyncio.run(work())
    except config.ConfigError as error:
        fail(str(error), Exit.CONFIG)
    except Refused as refused:
        fail(refused.text or "there is such an account already")
    except Unavailable as error:
        fail(f"the account store cannot be reached: {error}", Exit.NOT_RUNNING)


def _new_database(chosen: config.Settings) -> None:
    """Say that one is made, for nobody may have meant this directory; root makes none that another user's
    gateway could not write to."""
    owner = chosen.state_dir.stat().st_uid
    if os.geteuid() == 0 != owner:
        fail(f"state_dir: {chosen.state_dir} is another user's (id {owner}); call this as that user")
    err.print(f"A new database is made in {chosen.state_dir} (state_dir)", style="yellow", markup=False)


def tell(chosen: config.Settings, *changes: AccountChanged) -> None:
    """Running processes forget what they know of the accounts, and show out whom they have to; nobody may be
    running, which is fine. Where it cannot be known whether somebody is, that is said."""

    async def work() -> None:
        if not await has_bus(chosen):
            return
        made = backend(chosen, "cli")
        try:
            async with asyncio.timeout(2 + len(changes) / 100):
                await made.connect()
                for change in changes:
                    await made.bus.broadcast(change)
        finally:
            await made.close()

    try:
        asyncio.run(work())
    except (Unavailable, TimeoutError):
        err.print("The running processes could not be told: restart them.", style="yellow")
