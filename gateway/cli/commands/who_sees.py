"""`tandem who-sees WATCHER PRESENTITY`: whether, why, and where."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from gateway.cli import api
from gateway.cli.app import app, example, out, settings
from gateway.cli.commands.presence import document_lines
from gateway.cli.wording import details
from gateway.exits import Exit

KNOWN = ("node", "kind", "address")


@app.command("who-sees", epilog=example("who-sees bob@example.org alice@example.org"))
def who_sees(
    context: typer.Context,
    watcher: Annotated[str, typer.Argument(metavar="WATCHER", help="Who wants to see.")],
    presentity: Annotated[str, typer.Argument(metavar="PRESENTITY", help="Who is to be seen.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Tell whether WATCHER sees PRESENTITY, why or why not, what there is to see and where it is shown. Exit
    code 1 means no."""
    answer = api.get(settings(context), "/api/who-sees", watcher=watcher, presentity=presentity)
    if as_json:
        out.print_json(json.dumps(answer))
    else:
        for line in story(answer):
            out.print(line, markup=False, soft_wrap=True)
    if answer["decision"]["standing"] != "active":
        raise typer.Exit(Exit.FAILED)


def story(answer: dict[str, Any]) -> list[str]:
    """The answer in sentences."""
    watcher, presentity = answer["watcher"], answer["presentity"]
    decision = answer["decision"]
    may = decision["standing"] == "active"
    verb = "sees" if may else "does not see"
    lines = [f"{watcher} {verb} {presentity}: {decision['standing']}, {decision['reason']}"]
    lines.append(f"  in {watcher}'s roster: {_item(answer['watcher_item'])}")
    lines.append(f"  in {presentity}'s roster: {_item(answer['presentity_item'])}")
    partly = " (the rest is kept from them by rules)" if answer["partly"] else ""
    lines += ["", f"What there is to see{partly}:", *(f"  {line}" for line in document_lines(answer)), ""]
    places = answer["places"]
    lines.append("Where it is shown:" if may else f"Where {watcher} is:")
    lines += [
        f"  {place['kind']} at {place['node']}: {details(place, answer['now'], *KNOWN)}" for place in places
    ]
    if not places:
        lines.append(f"  nowhere: {watcher} has no session, no phone and no dialog now")
    lines += [f"  {node} did not answer in time" for node in answer["silent"]]
    return lines


def _item(item: dict[str, Any]) -> str:
    words = [item["subscription"]]
    words += [
        word
        for name, word in (("ask", "asked, no answer yet"), ("pending_in", "has not answered the request"))
        if item[name]
    ]
    if item["approved"]:
        words.append("approved beforehand")
    return ", ".join(words)
