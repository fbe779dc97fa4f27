"""`tandem sessions`: who is connected, registered and subscribed, at which node."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer
from rich.table import Table

from gateway.cli import api
from gateway.cli.app import app, out, settings
from gateway.cli.wording import ago, details

LEADING = ("address", "kind", "node")


@app.command()
def sessions(
    context: typer.Context,
    address: Annotated[str, typer.Argument(help="Only what concerns this address.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """List XMPP sessions, SIP bindings and subscription dialogs of all nodes."""
    answer = api.get(settings(context), "/api/sessions", address=address)
    if as_json:
        out.print_json(json.dumps(answer))
        return
    if not answer["sessions"]:
        out.print("Nobody is here." if not address else f"Nothing of {address} is here.", markup=False)
    else:
        out.print(_table(answer["sessions"], answer["now"]))
    for node in answer["silent"]:
        out.print(f"{node} did not answer in time", style="yellow", markup=False)


def _table(rows: list[dict[str, Any]], now: float) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in (*LEADING, "since", "details"):
        table.add_column(name, overflow="fold")
    for row in rows:
        since = ago(now - row["since"]) if isinstance(row.get("since"), (int, float)) else ""
        named = [str(row.get(name, "")) for name in LEADING]
        table.add_row(*named, since, details(row, now, *LEADING, "since"))
    return table
