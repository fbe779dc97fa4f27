"""The documented example and the effective configuration, both written from the declarations."""

from __future__ import annotations

import json
import textwrap
from enum import Enum
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from gateway.config import Settings
from gateway.log import MASK, is_secret
from presence.notes import field_notes

WIDTH = 100
HEADER = """Tandem's configuration. Every setting is here with its default; remove the # of those you change.
The environment wins over this file: TANDEM_SECTION__NAME=value, e.g. TANDEM_LOG__LEVEL=debug;
lists are comma-separated."""


def example() -> str:
    """A complete TOML file in which every default is commented out; it loads as it is."""
    lines = [*_comment(HEADER), ""]
    lines += _table(Settings, "")
    return "\n".join(lines).rstrip() + "\n"


def effective(settings: Settings) -> str:
    """The configuration in force as TOML, secrets masked."""
    return "\n".join(_effective(settings.model_dump(mode="json"), "")).strip() + "\n"


def _table(model: type[BaseModel], path: str) -> list[str]:
    lines: list[str] = []
    sections: list[tuple[str, type[BaseModel]]] = []
    notes = field_notes(model)
    for name, field in model.model_fields.items():
        section = field.annotation
        if isinstance(section, type) and issubclass(section, BaseModel):
            sections.append((f"{path}{name}", section))
            continue
        lines += _comment(f"{notes[name]} {_choices(field, notes[name])}".strip())
        lines += [f"#{name} = {toml(default_of(field))}", ""]
    for full, section in sections:
        lines += [*_comment((section.__doc__ or "").strip()), f"[{full}]", ""]
        lines += _table(section, f"{full}.")
    return lines


def _comment(text: str) -> list[str]:
    paragraphs = text.split("\n") if text == HEADER else [" ".join(text.split())]
    return [f"# {line}" for paragraph in paragraphs for line in textwrap.wrap(paragraph, WIDTH - 2)]


def _choices(field: FieldInfo, note: str) -> str:
    """The values allowed, unless the documentation names them all."""
    annotation = field.annotation
    values: list[str] = []
    if get_origin(annotation) is Literal:
        values = [str(value) for value in get_args(annotation)]
    elif isinstance(annotation, type) and issubclass(annotation, Enum):
        values = [str(member.value) for member in annotation]
    told = all(f"`{value}`" in note for value in values)
    return "" if told else f"One of: {', '.join(values)}."


def default_of(field: FieldInfo) -> Any:
    """What the setting is when nobody sets it; None is written as an empty string where a string would do."""
    value = field.get_default(call_default_factory=True, validated_data={})
    return "" if value is None and _takes_text(field.annotation) else value


def _takes_text(annotation: Any) -> bool:
    if get_origin(annotation) in (Union, type(int | None)):
        return any(_takes_text(argument) for argument in get_args(annotation))
    return annotation in (str, Path)


def toml(value: Any) -> str:
    """One value in TOML."""
    match value:
        case bool():
            return "true" if value else "false"
        case int() | float():
            return repr(value)
        case Enum():
            return toml(value.value)
        case dict():
            shown = {key: MASK if each and is_secret(key) else each for key, each in value.items()}
            inner = ", ".join(f"{json.dumps(key)} = {toml(each)}" for key, each in shown.items())
            return f"{{ {inner} }}" if value else "{}"
        case list() | tuple() | set() | frozenset():
            return "[" + ", ".join(toml(item) for item in value) + "]"
        case None:
            return '""'
        case _:
            return json.dumps(str(value), ensure_ascii=False)


def _effective(values: dict[str, Any], path: str) -> list[str]:
    tables = {
        name: value for name, value in values.items() if isinstance(value, dict) and _is_section(path, name)
    }
    lines = []
    for name, value in values.items():
        if name not in tables:
            lines.append(f"{name} = {toml(MASK if value and is_secret(name) else _masked_url(value))}")
    for name, table in tables.items():
        lines += ["", f"[{path}{name}]", *_effective(table, f"{path}{name}.")]
    return lines


def _is_section(path: str, name: str) -> bool:
    model: Any = Settings
    for part in [*path.split(".")[:-1], name]:
        field = (
            model.model_fields.get(part) if isinstance(model, type) and issubclass(model, BaseModel) else None
        )
        if field is None:
            return False
        model = field.annotation
    return isinstance(model, type) and issubclass(model, BaseModel)


def _masked_url(value: Any) -> Any:
    """The password of a `scheme://user:password@host` URL is a secret."""
    if not isinstance(value, str) or "://" not in value or "@" not in value:
        return value
    scheme, _, rest = value.partition("://")
    credentials, _, host = rest.rpartition("@")
    user, colon, _ = credentials.partition(":")
    return f"{scheme}://{user}{colon}{MASK if colon else ''}@{host}"
