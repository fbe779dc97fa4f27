"""`tandem trace ID`: one message's whole way."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer
from rich.table import Table

from gateway.cli import api
from gateway.cli.app import app, out, settings
from gateway.cli.wording import clock, people


@app.command()
def trace(
    context: typer.Context,
    id: Annotated[str, typer.Argument(help="Trace id, as `bus tail` and the logs show it.", metavar="ID")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show every hop of one message or presence change, with the time between hops, across both protocols."""
    answer = api.get(settings(context), f"/api/trace/{id}")
    if as_json:
        out.print_json(json.dumps(answer))
        return
    out.print(_table(answer["entries"]))


def _table(entries: list[dict[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("time", "after", "+", "node", "hop", "who", "detail"):
        table.add_column(name, justify="right" if name in ("after", "+") else "left", overflow="fold")
    first = before = entries[0]["at"]
    for entry in entries:
        at = entry["at"]
        times = (clock(at), f"{(at - first) * 1000:.1f} ms", f"{(at - before) * 1000:.1f}")
        table.add_row(*times, entry["node"], entry["hop"], people(entry), entry.get("detail", ""))
        before = at
    return table
