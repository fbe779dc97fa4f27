"""The part of docs/bus.md that is generated: every value on the bus, field by field.

    python -m presence.edge.schema docs/bus.md

rewrites what stands between the two marks; a test holds that it is up to date.
"""

from __future__ import annotations

import inspect
import sys
import typing
from enum import StrEnum
from pathlib import Path
from typing import Any

import msgspec

from presence import address, errors, messages, model, ports, subscriptions
from presence.notes import field_notes
from presence.rooms import events as rooms_events
from presence.rooms import model as rooms_model

BEGIN, END = "<!-- generated: begin -->", "<!-- generated: end -->"

ENVELOPES: tuple[type[msgspec.Struct], ...] = typing.get_args(ports.Inbound)
VALUES: tuple[type[msgspec.Struct], ...] = (
    address.Address,
    model.Snapshot,
    model.Source,
    model.PresenceTuple,
    model.Person,
    model.Text,
    model.LastSeen,
    messages.InstantMessage,
    messages.Failure,
    subscriptions.RosterItem,
    rooms_model.Delta,
    rooms_model.Head,
    rooms_model.Configuration,
    rooms_model.Occupant,
    rooms_model.Attendance,
    rooms_model.Affiliated,
    *typing.get_args(rooms_events.Event),
    ports.TraceEntry,
    ports.NodeInfo,
)
ENUMS: tuple[type[StrEnum], ...] = (
    model.Show,
    messages.Kind,
    messages.Audience,
    ports.EndpointKind,
    subscriptions.Subscription,
    rooms_model.Affiliation,
    rooms_model.Role,
    rooms_events.Departure,
    errors.Condition,
)


def render() -> str:
    parts = ["## Envelopes\n"]
    parts += [f"### `{struct.__struct_config__.tag}`\n\n{table(struct)}" for struct in ENVELOPES]
    parts.append("## Values\n")
    parts += [f"### {struct.__name__}\n\n{table(struct)}" for struct in VALUES]
    parts.append("### Words\n")
    parts.append(
        "\n".join(f"- **{enum.__name__}**: {', '.join(f'`{member}`' for member in enum)}" for enum in ENUMS)
        + "\n"
    )
    return "\n".join(parts)


def table(struct: type[msgspec.Struct]) -> str:
    """What it is for, and a row for each field."""
    about = inspect.cleandoc(struct.__doc__ or "").partition("\n\n")[0].replace("\n", " ")
    layout = "An array, in this order. " if struct.__struct_config__.array_like else ""
    notes = field_notes(struct)
    rows = [
        f"| `{field.name}` | {escape(type_name(field.type))} | {escape(notes.get(field.name, ''))} |"
        for field in msgspec.structs.fields(struct)
    ]
    return "\n".join([f"{about} {layout}".strip(), "", "| field | type | |", "|---|---|---|", *rows, ""])


def type_name(kind: Any) -> str:
    """As the reader of MessagePack sees it."""
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin is tuple:
        return f"array of {type_name(inner[0])}"
    if origin is dict:
        return f"map of {type_name(inner[0])} to {type_name(inner[1])}"
    if inner:  # a union
        return " or ".join(type_name(each) for each in inner)
    return {str: "string", bytes: "binary", type(None): "nil", Any: "anything"}.get(
        kind, getattr(kind, "__name__", "?")
    )


def escape(text: str) -> str:
    return text.replace("|", "\\|")


def rewritten(page: str) -> str:
    """The page with its generated part up to date."""
    before, _, rest = page.partition(BEGIN)
    after = rest.partition(END)[2]
    return f"{before}{BEGIN}\n\n{render()}\n{END}{after}"


if __name__ == "__main__":
    page = Path(sys.argv[1])
    page.write_text(rewritten(page.read_text(encoding="utf-8")), encoding="utf-8")
