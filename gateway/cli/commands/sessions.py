"""`tandem sessions`: who is connected, registered and subscribed, at which node."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from gateway.cli import api, listing
from gateway.cli.app import app, example, out, settings
from gateway.cli.wording import ago, details

LEADING = ("address", "kind", "node")


@app.command(epilog=example("sessions alice@example.org"))
def sessions(
    context: typer.Context,
    address: Annotated[str, typer.Argument(metavar="ADDRESS", help="Only what concerns this address.")] = "",
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
        head = (*LEADING, "since", "details")
        listing.show(head, [_row(each, answer["now"]) for each in answer["sessions"]])
    for node in answer["silent"]:
        out.print(f"{node} did not answer in time", style="yellow", markup=False)


def _row(row: dict[str, Any], now: float) -> list[str]:
    since = ago(now - row["since"]) if isinstance(row.get("since"), (int, float)) else ""
    named = [str(row.get(name, "")) for name in LEADING]
    return [*named, since, details(row, now, *LEADING, "since", "seconds")]
