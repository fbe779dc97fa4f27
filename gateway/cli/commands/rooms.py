"""`tandem rooms list|show|grant|destroy`: what rooms there are, and an operator's hand in them."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Annotated, TypeVar

import typer

from gateway import config
from gateway.cli import listing
from gateway.cli.app import app, err, example, fail, out, settings
from gateway.cli.bus import with_bus
from gateway.wiring import Backend
from presence.address import Address, parse_address
from presence.errors import InvalidAddress
from presence.rooms import decisions
from presence.rooms.administration import GiveAffiliation, administer
from presence.rooms.decisions import Step
from presence.rooms.model import Affiliation, Room
from presence.rooms.ports import Listed
from presence.rooms.service import Rooms

rooms = typer.Typer(no_args_is_help=True, help="See rooms, put people in charge of them, and end them.")
app.add_typer(rooms, name="rooms")

T = TypeVar("T")
RoomArgument = Annotated[str, typer.Argument(metavar="ROOM", help="Its address: `tea@rooms.example.org`.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


@rooms.command("list")
def list_(context: typer.Context, as_json: AsJson = False) -> None:
    """List all rooms, also those that are not listed for users."""

    async def work(found: Rooms) -> list[Listed]:
        domains = sorted(found.policy.domains)
        return [each for domain in domains for each in await found.listing(domain, hidden=True)]

    found = _with_rooms(settings(context), work)
    if as_json:
        rows = [
            {"room": str(e.room), "name": e.name, "occupants": e.occupants, "public": e.public} for e in found
        ]
        out.print_json(json.dumps(rows))
        return
    if not found:
        out.print("There are no rooms.")
        return
    table = [(str(e.room), str(e.occupants), "yes" if e.public else "no", e.name) for e in found]
    listing.show(("room", "occupants", "listed", "name"), table, right=("occupants",))


@rooms.command(epilog=example("rooms show tea@rooms.example.org"))
def show(context: typer.Context, room: RoomArgument, as_json: AsJson = False) -> None:
    """Show who is in a room, and who stands to it how."""
    found = _with_rooms(settings(context), lambda all_: all_.find(_address(room)))
    people = sorted(found.affiliated.values(), key=lambda each: (-each.affiliation.rank, each.address))
    if as_json:
        described = {
            "room": str(found.address),
            "name": found.configuration.name,
            "persistent": found.configuration.persistent,
            "occupants": [
                {"nick": o.nick, "address": str(o.address), "role": o.role.value}
                for o in found.occupants.values()
            ],
            "affiliations": [
                {"address": str(a.address), "affiliation": a.affiliation.value, "nick": a.nick}
                for a in people
            ],
        }
        out.print_json(json.dumps(described))
        return
    kind = "persistent" if found.configuration.persistent else "temporary"
    out.print(
        f"{found.address}: {kind}, {found.configuration.name or 'no name'}", markup=False, soft_wrap=True
    )
    occupants = [
        (o.nick, o.role.value, str(o.address), ", ".join(sorted({a.node for a in o.attendances})))
        for o in found.occupants.values()
    ]
    if occupants:
        out.print()
        listing.show(("nickname", "role", "who", "at"), occupants)
    if people:
        out.print()
        table = [(str(each.address), each.affiliation.value, each.nick) for each in people]
        listing.show(("who", "affiliation", "nickname"), table)


@rooms.command(epilog=example("rooms grant tea@rooms.example.org alice@example.org owner"))
def grant(
    context: typer.Context,
    room: RoomArgument,
    address: Annotated[str, typer.Argument(metavar="ADDRESS", help="Whom.")],
    affiliation: Annotated[
        Affiliation,
        typer.Argument(metavar="AFFILIATION", help="`owner`, `admin`, `member`, `outcast`, or `none` again."),
    ],
) -> None:
    """Make somebody owner, admin, member or outcast of a room, or nothing again."""
    whom = _address(address)

    async def work(found: Rooms) -> None:
        change = (GiveAffiliation(address=whom, affiliation=affiliation),)

        def decide(state: Room | None) -> Step:
            return administer(*_owned(state), "", change, found.policy.bounds)

        await found.act(_address(room), decide)

    _with_rooms(settings(context), work)
    err.print(f"{whom}: {affiliation.value}", markup=False, soft_wrap=True)


@rooms.command(epilog=example('rooms destroy tea@rooms.example.org --reason "moved to coffee"'))
def destroy(
    context: typer.Context,
    room: RoomArgument,
    reason: Annotated[str, typer.Option(help="What those in it are told.")] = "",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """End a room, with everything said in it; whoever is there is sent out."""
    if not yes:
        typer.confirm(f"Destroy {room} with everything said in it?", abort=True)

    def decide(state: Room | None) -> Step:
        return decisions.destroy(*_owned(state), reason)

    _with_rooms(settings(context), lambda found: found.act(_address(room), decide))
    err.print(f"{room} is no more.", markup=False, soft_wrap=True)


def _owned(room: Room | None) -> tuple[Room, Address]:
    """With an owner, in whose name it is done."""
    if room is None:
        fail("there is no such room")
    return room, room.with_affiliation(Affiliation.OWNER)[0].address


def _address(text: str) -> Address:
    try:
        return parse_address(text)
    except InvalidAddress as error:
        fail(f"{text}: {error}")


def _with_rooms(chosen: config.Settings, use: Callable[[Rooms], Awaitable[T]]) -> T:
    def work(made: Backend) -> Awaitable[T]:
        if made.service.rooms is None:
            fail("rooms are switched off (rooms.enabled)")
        return use(made.service.rooms)

    return with_bus(chosen, work)
