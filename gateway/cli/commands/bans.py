"""`tandem bans list|lift`: who must wait before the next try to log in."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from typing import Annotated, TypeVar

import typer

from gateway import config
from gateway.cli import listing
from gateway.cli.app import app, err, fail, out, settings
from gateway.exits import Exit
from gateway.wiring import backend
from presence.errors import Unavailable
from presence.ports import Guard

bans = typer.Typer(no_args_is_help=True, help="See and end bans after failed logins.")
app.add_typer(bans, name="bans")

T = TypeVar("T")


@bans.command("list")
def list_(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """List the bans in force: of a network, of an account, or of one account from one network (`login`)."""
    found = _with_guard(settings(context), lambda guard: guard.bans())
    if as_json:
        rows = [{"kind": ban.kind, "name": ban.name, "until": ban.until} for ban in found]
        out.print_json(json.dumps(rows))
        return
    if not found:
        out.print("Nobody is banned.")
        return
    left = [str(max(0, round(ban.until - time.time()))) for ban in found]
    table = [(ban.kind, ban.name, seconds) for ban, seconds in zip(found, left, strict=True)]
    listing.show(("kind", "who", "seconds left"), table)


@bans.command()
def lift(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="A network or an account, as listed.")],
) -> None:
    """End every ban of a network or an account, and forget its failures."""
    lifted = _with_guard(settings(context), lambda guard: guard.lift(name))
    if not lifted:
        fail(f"{name} is not banned")
    err.print(f"{lifted} bans lifted.")


def _with_guard(chosen: config.Settings, use: Callable[[Guard], Awaitable[T]]) -> T:
    async def work() -> T:
        made = backend(chosen, "cli")
        try:
            async with asyncio.timeout(5):
                await made.connect()
                return await use(made.service.guard)
        finally:
            await made.close()

    try:
        return asyncio.run(work())
    except (Unavailable, TimeoutError):
        fail("the bus cannot be reached: is Tandem running?", Exit.NOT_RUNNING)
