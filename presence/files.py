"""A file somebody shares, as far as both doors can say it: where it is, and what is known of it."""

from __future__ import annotations

import mimetypes
from urllib.parse import unquote, urlsplit

import msgspec

from presence.uploads import ANY_TYPE, fit_name, fit_type

MAX_URL = 2048
"Characters of an address."
MAX_SIZE = 1 << 53
_UNITS = ("bytes", "kB", "MB", "GB", "TB")
_TYPES = mimetypes.MimeTypes()


class SharedFile(msgspec.Struct, frozen=True, omit_defaults=True):
    """A link to a file. Made by `shared_file`, which checks what others say."""

    url: str
    name: str = ""
    "Empty: not said."
    size: int = 0
    "Bytes; 0: not said."
    media: str = ""
    "Media type; empty: not said."

    @property
    def called(self) -> str:
        """Its name, or the last part of its address."""
        return self.name or fit_name(unquote(urlsplit(self.url).path.rpartition("/")[2]))

    @property
    def kind(self) -> str:
        """Its media type, or what the ending of its name stands for."""
        return self.media or _TYPES.guess_type(self.called)[0] or ANY_TYPE


def shared_file(url: str, name: str = "", size: str | int = 0, media: str = "") -> SharedFile | None:
    """What somebody says of a file they share; None where the address is none that everybody may be sent to:
    http and https with a host, of at most `MAX_URL` characters without blanks."""
    url = url.strip()
    if len(url) > MAX_URL or not url.isprintable() or any(c in url for c in ' "<>\\'):
        return None
    try:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
            return None
        _ = parts.port
    except ValueError:
        return None
    said = str(size).strip()
    known = int(said) if said.isascii() and said.isdigit() and len(said) <= 16 else 0
    return SharedFile(
        url,
        fit_name(name[:1024]) if name.strip() else "",
        known if known <= MAX_SIZE else 0,
        fit_type(media.strip()),
    )


def in_words(file: SharedFile) -> str:
    """For who can only read: name and size where they are known, and the link on a line of its own."""
    known = [word for word in (file.name, _size(file.size)) if word]
    return "\n".join([", ".join(known), file.url] if known else [file.url])


def _size(size: int) -> str:
    if not size:
        return ""
    amount, unit = float(size), 0
    while amount >= 999.5 and unit < len(_UNITS) - 1:
        amount, unit = amount / 1000, unit + 1
    return f"{amount:.0f} {_UNITS[unit]}" if amount >= 10 or not unit else f"{amount:.1f} {_UNITS[unit]}"
