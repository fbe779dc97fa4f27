"""text/plain, in the charsets phones use."""

from __future__ import annotations

from sip.bodies import Content, Heard, accept, body
from sip.errors import ProtocolError

_ALIASES = {
    "us-ascii": "utf-8",
    "ascii": "utf-8",
    "utf8": "utf-8",
    "unicode-1-1-utf-8": "utf-8",
    "latin-1": "iso-8859-1",
    "latin1": "iso-8859-1",
    "ucs-2": "utf-16",
    "ucs2": "utf-16",
    "iso-10646-ucs-2": "utf-16",
    "utf16": "utf-16",
    **{f"cp{number}": f"windows-{number}" for number in range(1250, 1259)},
}
_KNOWN = frozenset(
    [
        "utf-8",
        "utf-16",
        "utf-16le",
        "utf-16be",
        *(f"iso-8859-{part}" for part in range(1, 17) if part != 12),
        *(f"windows-{number}" for number in range(1250, 1259)),
        "koi8-r",
        "koi8-u",
        "tis-620",
        "gb2312",
        "gbk",
        "gb18030",
        "big5",
        "shift_jis",
        "iso-2022-jp",
        "euc-jp",
        "euc-kr",
    ]
)
_MARKS = (b"\xff\xfe", b"\xfe\xff")
"Which of its bytes comes first, as UTF-16 says it."


def decode_text(data: bytes, charset: str) -> str:
    """A text body. What claims to be UTF-8 and is not is read as Latin-1. Raises `ProtocolError` 415."""
    charset = _ALIASES.get(charset, charset)
    if charset not in _KNOWN:
        raise ProtocolError(415, headers=(("Accept", f"text/plain;charset=utf-8, {accept()}"),))
    if charset == "utf-16" and not data.startswith(_MARKS):
        charset = "utf-16be"  # RFC 2781 §4.3
    try:
        text = data.decode(charset)
    except UnicodeDecodeError:
        text = data.decode("latin-1")
    return text.removeprefix("\ufeff").replace("\0", "").replace("\r\n", "\n")


@body("text/plain")
def plain(content: Content) -> Heard:
    return Heard(text=decode_text(content.data, content.charset))
