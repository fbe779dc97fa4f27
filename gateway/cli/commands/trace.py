"""`tandem trace ID`: one message's whole way."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from gateway.cli import api, listing
from gateway.cli.app import app, example, out, settings
from gateway.cli.wording import clock, people


@app.command(epilog=example("trace 1a2247317350000f1fb0c277ce2"))
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
    _show(answer["entries"])


def _show(entries: list[dict[str, Any]]) -> None:
    """Who it is about stands above the hops when it is the same for all."""
    said = [people(entry) for entry in entries]
    same = len(set(said)) == 1
    if same:
        out.print(said[0], style="bold", markup=False, soft_wrap=True)
    rows = []
    first = before = entries[0]["at"]
    for entry, who in zip(entries, said, strict=True):
        at = entry["at"]
        times = (clock(at), f"{(at - first) * 1000:.1f} ms", f"{(at - before) * 1000:.1f}")
        rows.append([*times, entry["node"], entry["hop"], *(() if same else (who,)), entry.get("detail", "")])
        before = at
    head = ("time", "after", "+", "node", "hop", *(() if same else ("who",)), "detail")
    listing.show(head, rows, right=("after", "+"))
