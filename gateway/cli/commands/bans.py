"""`tandem bans list|lift`: who must wait before the next try to log in."""

from __future__ import annotations

import json
import time
from typing import Annotated, TypeVar

import typer

from gateway.cli import listing
from gateway.cli.app import app, err, example, fail, out, settings
from gateway.cli.bus import with_bus

bans = typer.Typer(no_args_is_help=True, help="See and end bans after failed logins.")
app.add_typer(bans, name="bans")

T = TypeVar("T")


@bans.command("list")
def list_(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """List the bans in force: of a network, of an account, or of one account from one network (`login`)."""
    found = with_bus(settings(context), lambda made: made.service.guard.bans())
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


@bans.command(epilog=example("bans lift alice@example.org"))
def lift(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="A network or an account, as listed.")],
) -> None:
    """End every ban of a network or an account, and forget its failures."""
    lifted = with_bus(settings(context), lambda made: made.service.guard.lift(name))
    if not lifted:
        fail(f"{name} is not banned")
    err.print(f"{lifted} bans lifted.")
