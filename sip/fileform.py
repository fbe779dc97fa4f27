"""The file in a form, as its bytes come (RFC 7578; GSMA RCC.07 §3.2.5.3): of multipart/form-data the part
named `File`. What stands before and behind it, a transaction's id or a thumbnail, is left aside.
"""

from __future__ import annotations

import re

MAX_HEAD = 8192
"Bytes of a part's header."
MAX_PARTS = 16
"Parts that are looked at for the file."
_BOUNDARY = re.compile(r"[\x21-\x7e]([\x20-\x7e]{0,68}[\x21-\x7e])?", re.ASCII)
_PARAMETER = re.compile(r';\s*([A-Za-z]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^;"\s]+))')
_ESCAPED = re.compile(r"\\(.)")


class BadForm(Exception):
    """It is none."""


class FileForm:
    """Fed with a body's bytes, gives back those of the file."""

    def __init__(self, boundary: str) -> None:
        """Raises `BadForm`."""
        if not _BOUNDARY.fullmatch(boundary):
            raise BadForm("no boundary")
        self._delimiter = b"\r\n--" + boundary.encode()
        self._buffer = bytearray(b"\r\n")  # the first delimiter may stand at the very start
        self._in_head = False
        self._parts = 0
        self.found = False
        "The file has begun: `name` and `type` are known."
        self.over = False
        "The file has ended, or there is none."
        self.name = ""
        self.type = ""

    def feed(self, data: bytes) -> bytes:
        """What of the file is in them. Raises `BadForm`."""
        if self.over:
            return b""
        self._buffer += data
        while not self.found:
            if not (self._head() if self._in_head else self._skip()):
                return b""
        return self._content()

    def _skip(self) -> bool:
        """To the next delimiter; False: more is needed."""
        at = self._buffer.find(self._delimiter)
        if at < 0:
            del self._buffer[: max(0, len(self._buffer) - len(self._delimiter) + 1)]
            return False
        del self._buffer[: at + len(self._delimiter)]
        self._in_head = True
        self._parts += 1
        if self._parts > MAX_PARTS:
            raise BadForm("too many parts before the file")
        return True

    def _head(self) -> bool:
        """Read a part's header; False: more is needed, or it was the end."""
        if self._buffer.startswith(b"--"):
            self.over = True
            return False
        end = self._buffer.find(b"\r\n\r\n")
        if end > MAX_HEAD or (end < 0 and len(self._buffer) > MAX_HEAD):
            raise BadForm("a part's header is too long")
        if end < 0:
            return False
        fields = _fields(self._buffer[:end].decode("utf-8", "replace"))
        # The line end may be that of the next delimiter, where a part is empty.
        del self._buffer[: end + 2]
        self._in_head = False
        disposition = {
            name.lower(): _ESCAPED.sub(r"\1", quoted) or bare
            for name, quoted, bare in _PARAMETER.findall(fields.get("content-disposition", ""))
        }
        if disposition.get("name", "").lower() == "file":
            del self._buffer[:2]
            self.found = True
            self.name = disposition.get("filename", "")
            self.type = fields.get("content-type", "")
        return True

    def _content(self) -> bytes:
        at = self._buffer.find(self._delimiter)
        self.over = at >= 0
        end = at if self.over else max(0, len(self._buffer) - len(self._delimiter) + 1)
        content = bytes(self._buffer[:end])
        del self._buffer[:end]
        return content


def _fields(head: str) -> dict[str, str]:
    lines = (line.partition(":") for line in head.split("\r\n"))
    return {name.strip().lower(): value.strip() for name, colon, value in lines if colon}
