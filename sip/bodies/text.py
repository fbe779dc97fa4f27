"""text/plain, in the charsets phones use."""

from __future__ import annotations

from sip.bodies import Content, Heard, accept, body
from sip.errors import ProtocolError

_CHARSETS = {"us-ascii": "utf-8", "ascii": "utf-8", "unicode-1-1-utf-8": "utf-8"}
_KNOWN = frozenset(
    [
        "utf-8",
        "utf-16",
        "utf-16le",
        "utf-16be",
        "iso-8859-1",
        "iso-8859-15",
        "latin-1",
        "windows-1252",
        "windows-1251",
        "koi8-r",
        "gb2312",
        "gbk",
        "gb18030",
        "big5",
        "shift_jis",
        "euc-jp",
        "euc-kr",
    ]
)


def decode_text(data: bytes, charset: str) -> str:
    """A text body. What claims to be UTF-8 and is not is read as Latin-1. Raises `ProtocolError` 415."""
    charset = _CHARSETS.get(charset, charset)
    if charset not in _KNOWN:
        raise ProtocolError(415, headers=(("Accept", f"text/plain;charset=utf-8, {accept()}"),))
    try:
        text = data.decode(charset)
    except UnicodeDecodeError:
        text = data.decode("latin-1")
    return text.replace("\0", "").replace("\r\n", "\n")


@body("text/plain")
def plain(content: Content) -> Heard:
    return Heard(text=decode_text(content.data, content.charset))
