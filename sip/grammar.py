"""Lexical pieces that many header fields share (RFC 3261 §25.1): lists, parameters, quoted strings, tokens.

Every function is one linear scan. Parameters keep their values as they stood on the wire, quotes included.
"""

from __future__ import annotations

import re

from sip.errors import SipError

Parameters = tuple[tuple[str, str | None], ...]
"(name, raw value) in order; the value is None for a flag, and still quoted if it was quoted."

TOKEN = re.compile(r"[A-Za-z0-9\-.!%*_+`'~]+")
DIGITS = re.compile(r"[0-9]{1,10}")
"Enough for 2**32 - 1; an `int` of it never costs more than a moment."
_SPACED = re.compile(r'["\s]')
_BREAKS = re.compile(r'[",<>]')
_QUOTE_OR_ESCAPE = re.compile(r'["\\]')
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_TO_ESCAPE = re.compile(r'(["\\])')

_LANGUAGE = re.compile(r"[A-Za-z]{1,8}(?:-[A-Za-z0-9]{1,8})*")
_MAX_LANGUAGE = 64
_WORD = r"[A-Za-z0-9\-.!%*_+`'~()<>:\\\"/\[\]?{}]+"
_CALL_ID = re.compile(f"{_WORD}(?:@{_WORD})?")
_MAX_CALL_ID = 256


class Malformed(SipError, ValueError):
    """Text that the grammar does not have; the header's parser says which header it was."""


def closing_quote(text: str, start: int) -> int:
    """Index of the quote that closes the one at `start` (RFC 3261 quoted-string)."""
    position = start + 1
    while (found := _QUOTE_OR_ESCAPE.search(text, position)) is not None:
        if found.group() == '"':
            return found.start()
        position = found.end() + 1
    raise Malformed("unbalanced quote")


def split_list(text: str) -> list[str]:
    """The members of a comma-separated header value; commas in quotes and in `<>` do not separate."""
    if "," not in text:
        return [text.strip()]
    if '"' not in text and "<" not in text:
        return [part.strip() for part in text.split(",")]
    members = []
    begin = position = 0
    in_brackets = False
    while (found := _BREAKS.search(text, position)) is not None:
        mark, at = found.group(), found.start()
        position = at + 1
        if mark == '"':
            if not in_brackets:
                position = closing_quote(text, at) + 1
        elif mark == "<":
            in_brackets = True
        elif mark == ">":
            in_brackets = False
        elif not in_brackets:
            members.append(text[begin:at].strip())
            begin = position
    members.append(text[begin:].strip())
    return members


def split_quoted(text: str, separator: str) -> list[str]:
    """Split at a separator that does not count inside quotes."""
    if '"' not in text:
        return text.split(separator)
    parts = []
    begin = position = 0
    while True:
        quote = text.find('"', position)
        at = text.find(separator, position)
        if quote >= 0 and (at < 0 or quote < at):
            position = closing_quote(text, quote) + 1
            continue
        if at < 0:
            break
        parts.append(text[begin:at])
        begin = position = at + 1
    parts.append(text[begin:])
    return parts


def parse_parameters(text: str) -> Parameters:
    """Parameters behind a value, from its first `;` on; empty when there are none."""
    if text[:1] == ";" and _SPACED.search(text) is None:
        if ";;" in text or ";=" in text or text[-1] == ";":
            raise Malformed("empty parameter")
        pairs = [part.partition("=") for part in text[1:].split(";")]
        return tuple([(name, value if equals else None) for name, equals, value in pairs])
    text = text.strip()
    if not text:
        return ()
    if text[0] != ";":
        raise Malformed("text behind the value")
    parameters: list[tuple[str, str | None]] = []
    for part in split_quoted(text[1:], ";") if '"' in text else text[1:].split(";"):
        name, equals, value = part.partition("=")
        name = name.strip()
        if not name:
            raise Malformed("empty parameter")
        parameters.append((name, value.strip() if equals else None))
    return tuple(parameters)


def find_parameter(parameters: Parameters, name: str) -> str | None:
    """The unquoted value; empty for a flag; None when absent. Names are case-insensitive."""
    for candidate, value in parameters:
        if candidate == name or candidate.lower() == name:
            return value if value and value[0] != '"' else unquote(value or "")
    return None


def replace_parameter(parameters: Parameters, name: str, value: str | None) -> Parameters:
    """With `name` set to the raw `value`, at its old place if it had one."""
    replaced = tuple((key, value if key.lower() == name.lower() else old) for key, old in parameters)
    return replaced if find_parameter(parameters, name.lower()) is not None else (*parameters, (name, value))


def drop_parameter(parameters: Parameters, name: str) -> Parameters:
    return tuple(pair for pair in parameters if pair[0].lower() != name.lower())


def write_parameters(parameters: Parameters) -> str:
    return "".join(f";{name}" if value is None else f";{name}={value}" for name, value in parameters)


def unquote(text: str) -> str:
    """The content of a quoted string; anything else as it is."""
    if len(text) < 2 or text[0] != '"' or text[-1] != '"':
        return text
    inner = text[1:-1]
    return _ESCAPED.sub(r"\1", inner) if "\\" in inner else inner


def quote(text: str) -> str:
    return '"' + _TO_ESCAPE.sub(r"\\\1", text) + '"'


def language(text: str) -> str:
    """The first tag of a Content-Language or an xml:lang (RFC 3261 §20.13); empty where it has not the shape
    of one."""
    tag = text.partition(",")[0].strip()
    return tag if len(tag) <= _MAX_LANGUAGE and _LANGUAGE.fullmatch(tag) is not None else ""


def is_call_id(text: str) -> bool:
    """Whether it may stand as a Call-ID (RFC 3261 §25.1 callid)."""
    return len(text) <= _MAX_CALL_ID and _CALL_ID.fullmatch(text) is not None


def is_token(text: str) -> bool:
    return TOKEN.fullmatch(text) is not None


def parse_number(text: str, limit: int = 2**32 - 1) -> int:
    """Digits only; at most `limit`."""
    if DIGITS.fullmatch(text) is None:
        raise Malformed("not a number" if not text.isdigit() else "number too large")
    number = int(text)
    if number > limit:
        raise Malformed("number too large")
    return number
