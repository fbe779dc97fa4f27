"""`tandem presence show ADDRESS`."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from gateway.cli import api
from gateway.cli.app import app, example, out, settings
from gateway.cli.wording import ago

presence = typer.Typer(no_args_is_help=True, help="Look at one person's presence.")
app.add_typer(presence, name="presence")


@presence.command(epilog=example("presence show alice@example.org"))
def show(
    context: typer.Context,
    address: Annotated[str, typer.Argument(metavar="ADDRESS", help="Whose presence.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Show what a fully authorised watcher sees of someone, and what it is made of: sources, leases,
    endpoints, waiting messages."""
    answer = api.get(settings(context), f"/api/presence/{address}")
    if as_json:
        out.print_json(json.dumps(answer))
        return
    for line in document_lines(answer):
        out.print(line, markup=False, soft_wrap=True)
    for line in bus_lines(answer["bus"], answer["now"]):
        out.print(line, markup=False, soft_wrap=True)


def bus_lines(kept: dict[str, Any], now: float) -> list[str]:
    """What the document is made of, and who is told of changes."""
    return [
        *_list("sources", [_source(each, now) for each in kept["sources"]]),
        *_list("endpoints", [_endpoint(each, now) for each in kept["endpoints"]]),
        *_list(
            "messages that wait",
            [
                f"from {m['sender']}, {ago(now - m['created'])} ago, trace {m['trace']}"
                for m in kept["pending"]
            ],
        ),
        *_list("nodes told of changes", kept["interest"]),
    ]


def _list(title: str, rows: list[str]) -> list[str]:
    return [f"{title}:", *(f"  {row}" for row in rows)] if rows else [f"{title}: none"]


def _source(each: dict[str, Any], now: float) -> str:
    source = each["source"]
    spoken = f", speaks for {source['tied_to']}" if source.get("tied_to") else ""
    return f"{source['id']}: {lease(each['lease'], now)}{spoken}"


def _endpoint(each: dict[str, Any], now: float) -> str:
    takes = "" if each["eligible"] else ", takes no messages to the bare address"
    return f"{each['id']} at {each['node']}: {lease(each['lease'], now)}{takes}"


def lease(held: dict[str, Any], now: float) -> str:
    """Why it is believed to be alive."""
    parts = [f"while {held['owner']} lives"] if held["owner"] else []
    if held["expires"] is not None:
        parts.append(f"for {ago(held['expires'] - now)} more")
    return ", ".join(parts) or "for ever"


def document_lines(answer: dict[str, Any]) -> list[str]:
    """The composed document in a few lines."""
    document, now = answer["document"], answer["now"]
    state = "online" if answer["online"] else "offline"
    lines = [f"{document['address']} is {state} (version {document['version']})"]
    lines += [f"  {tuple_line(each, now)}" for each in document["tuples"]]
    person = document["person"]
    if person:
        said = [*person["activities"], *person["mood"], *(note["text"] for note in person["notes"])]
        lines.append(f"  person: {', '.join(said) or '-'}")
    seen = document["last_seen"]
    if seen and not answer["online"]:
        note = f": {seen['notes'][0]['text']}" if seen["notes"] else ""
        lines.append(f"  last seen {ago(now - seen['at'])} ago{note}")
    return lines


def tuple_line(each: dict[str, Any], now: float) -> str:
    """One service of the presentity."""
    state = each["show"] or "available" if each["open"] else "closed"
    parts = [f"{each['id']}: {state}"]
    parts += [f"“{note['text']}”" for note in each["notes"]]
    if each["priority"] is not None:
        parts.append(f"priority {each['priority']}")
    if each["since"]:
        parts.append(f"for {ago(now - each['since'])}")
    if each["idle_since"]:
        parts.append(f"idle {ago(now - each['idle_since'])}")
    return ", ".join(parts)
