"""The documentation names what is there: files, headings, settings, commands, events of the log."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer.main
from pydantic import BaseModel

from gateway.cli import commands
from gateway.cli.app import app
from gateway.config import Settings
from presence.discovery import load

ROOT = Path(__file__).parents[1]
FILES = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "compose.yaml"]
PAGES = sorted(file.relative_to(ROOT) for file in FILES)
CODE = [
    path for name in ("gateway", "presence", "sip", "xmpp") for path in sorted((ROOT / name).rglob("*.py"))
]
BLOCK = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?![a-z]+:)([^)#\s]*)(?:#([^)\s]+))?\)")
FILE = re.compile(r"`((?:bench|docs|gateway|presence|sip|tests|xmpp)/[\w./-]*\w)`")
PLACEHOLDER = re.compile(r"\bname\.\w+$|NNNN")
load(commands.__name__)


def prose(page: Path) -> str:
    """The page without its blocks of code."""
    return BLOCK.sub("", (ROOT / page).read_text())


def anchors(page: Path) -> set[str]:
    """What its headings are called in links."""
    headings = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_links_lead_somewhere(page: Path) -> None:
    dead = []
    for target, heading in LINK.findall(prose(page)):
        path = (page.parent / target) if target else page
        if not (ROOT / path).exists() or (heading and heading not in anchors(path)):
            dead.append(f"{target}#{heading}")
    assert dead == []


@pytest.mark.parametrize(("index", "folder"), [("README.md", "docs"), ("docs/adr/README.md", "docs/adr")])
def test_every_page_is_in_its_index(index: str, folder: str) -> None:
    linked = {(Path(index).parent / target).name for target, _ in LINK.findall(prose(Path(index)))}
    assert sorted({page.name for page in PAGES if str(page.parent) == folder} - linked - {"README.md"}) == []


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_files_that_are_named_exist(page: Path) -> None:
    named = [name for name in FILE.findall(prose(page)) if not PLACEHOLDER.search(name)]
    assert [name for name in named if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_names_in_files_that_are_named_exist(page: Path) -> None:
    missing = [
        f"{file}: {name}"
        for file, names in re.findall(r"`((?:\w+/)+\w+\.py): ([\w.]+)`", prose(page))
        for name in names.split(".")
        if not re.search(rf"\b(?:def|class) {name}\b", (ROOT / file).read_text())
    ]
    assert missing == []


# --- settings ----------------------------------------------------------------------------------------


def declared(model: type[BaseModel], path: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        yield f"{path}{name}"
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from declared(field.annotation, f"{path}{name}.")


SETTINGS = frozenset(declared(Settings))
NAMED = re.compile(rf"`((?:{'|'.join(sorted(Settings.model_fields))})(?:\.[a-z_]+)+)(?=`| = )")
IN_THE_ENVIRONMENT = re.compile(r"\bTANDEM_([A-Z_]+)[:=]")
HOPS = frozenset({"sip.in", "sip.out", "sip.push", "sip.failed", "xmpp.in", "xmpp.out"})


def is_else(name: str) -> bool:
    """A module of the code, `xmpp.hosted`; the name of a host or file; a hop."""
    module = (ROOT / f"{name.replace('.', '/')}.py").exists()
    return module or name.endswith((".org", ".js", ".py")) or name in HOPS


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_settings_that_are_named_exist(page: Path) -> None:
    text = (ROOT / page).read_text()
    named = {name for name in NAMED.findall(text) if not is_else(name)}
    named |= {name.lower().replace("__", ".") for name in IN_THE_ENVIRONMENT.findall(text)}
    assert sorted(named - SETTINGS) == []


# --- commands ----------------------------------------------------------------------------------------


def known(words: list[str]) -> bool:
    """`presence show`, `user add`, `bus`."""
    at = typer.main.get_command(app)
    for word in words:
        below = getattr(at, "commands", None)
        if below is None:
            return True
        if word not in below:
            return False
        at = below[word]
    return True


COMMAND = re.compile(r"(?:`|bin/|^\$ |^)tandem ([a-z][a-z-]*(?: [a-z][a-z-]*)*)", re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_commands_that_are_named_exist(page: Path) -> None:
    text = (ROOT / page).read_text()
    assert [words for words in COMMAND.findall(text) if not known(words.split())] == []


# --- the log -----------------------------------------------------------------------------------------

LOGGED = re.compile(r'\blog\.(?:info|warning|error|exception)\(\s*"(\w+)"')
QUOTED = re.compile(r'"(\w+)"')


def test_the_events_of_the_log_are_those_that_are_documented() -> None:
    text = prose(Path("docs/logging.md"))
    rows = re.findall(r"^\| (`[^|]*`) \| (?:info|warning|error)[a-z, ]* \|", text, re.MULTILINE)
    documented = {event for row in rows for event in re.findall(r"`(\w+)`", row)}
    code = [path.read_text() for path in CODE]
    assert sorted(documented - {word for text in code for word in QUOTED.findall(text)}) == []
    assert sorted({event for text in code for event in LOGGED.findall(text)} - documented) == []
