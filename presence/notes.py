"""What is written below the fields of a class: `name: int` and a string in the next line."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterator


def field_notes(kind: type) -> dict[str, str]:
    """Field → its note on one line, of the class and those it is made of. Reads the source, which takes
    milliseconds: for who writes documentation, not for who serves."""
    found: dict[str, str] = {}
    for each in reversed(kind.__mro__):
        if each.__module__.partition(".")[0] in _OURS:
            found.update(_written(each))
    return found


_OURS = frozenset({"presence", "sip", "xmpp", "gateway"})


def _written(kind: type) -> Iterator[tuple[str, str]]:
    tree = ast.parse(textwrap.dedent(inspect.getsource(kind))).body[0]
    assert isinstance(tree, ast.ClassDef)
    name = ""
    for statement in tree.body:
        match statement:
            case ast.AnnAssign(target=ast.Name(id=found)):
                name = found
            case ast.Expr(value=ast.Constant(value=str(note))) if name:
                yield name, " ".join(note.split())
                name = ""
            case _:
                name = ""
