"""Rows in columns, one line each: never folded, for half an address can be neither read nor copied."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from rich.cells import cell_len
from rich.text import Text

from gateway.cli.app import out

GAP = "  "


def lines(head: Sequence[str], rows: Sequence[Sequence[str]], *, right: Collection[str] = ()) -> list[str]:
    """The head and the rows, as wide as their contents; columns named in `right` are flush right."""
    table = [list(head), *(list(row) for row in rows)]
    widths = [max(cell_len(row[n]) for row in table) for n in range(len(head))]
    return [
        GAP.join(_cell(row[n], widths[n], head[n] in right) for n in range(len(head))).rstrip()
        for row in table
    ]


def _cell(text: str, width: int, right: bool) -> str:
    room = " " * (width - cell_len(text))
    return room + text if right else text + room


def show(head: Sequence[str], rows: Sequence[Sequence[str]], *, right: Collection[str] = ()) -> None:
    """Print them. What is wider than the terminal is its business."""
    first, *rest = lines(head, rows, right=right)
    out.print(Text(first, style="bold"), soft_wrap=True)
    for line in rest:
        out.print(Text(line), soft_wrap=True)
