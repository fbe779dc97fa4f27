"""`tandem bus tail`: the story so far, and as it goes on."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from gateway.cli import api
from gateway.cli.app import app, example, fail, out, settings
from gateway.cli.wording import hop_line
from gateway.exits import Exit

bus = typer.Typer(no_args_is_help=True, help="Look at the bus.")
app.add_typer(bus, name="bus")


@bus.command(epilog=example("bus tail --address alice@example.org --lines 50"))
def tail(
    context: typer.Context,
    address: Annotated[str, typer.Option("--address", "-a", help="Only what concerns this address.")] = "",
    trace: Annotated[str, typer.Option("--trace", "-t", help="Only this trace.")] = "",
    lines: Annotated[
        int, typer.Option("--lines", "-n", min=0, max=1000, help="Begin with this many hops of the past.")
    ] = 10,
    all_kept: Annotated[bool, typer.Option("--all", help="Begin with the oldest hop that is kept.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """Show the last hops, and follow what happens, one line per hop, until Ctrl-C."""
    chosen = settings(context)
    try:
        begin = {"after": "0"} if all_kept else {"last": str(lines)}
        for entry in api.follow(chosen, "/api/bus", address=address, trace=trace, **begin):
            if as_json:
                typer.echo(json.dumps(entry))
            else:
                out.print(hop_line(entry), soft_wrap=True)
    except KeyboardInterrupt:
        raise typer.Exit from None
    fail("the gateway ended the tail", Exit.NOT_RUNNING)
