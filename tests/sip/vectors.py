"""Wire bytes kept in `tests/vectors/sip/`."""

from __future__ import annotations

from pathlib import Path

_ROOT = Path(__file__).parent.parent / "vectors" / "sip"


def torture(rfc: str) -> dict[str, bytes]:
    """The messages of a torture test RFC by name."""
    return {path.stem: path.read_bytes() for path in sorted((_ROOT / rfc).glob("*.dat"))}


def captures() -> dict[str, list[bytes]]:
    """`CLIENT/FILE` → messages as they were on the wire.

    Bodies may have lost their CRs, so the length is set anew.
    """
    found = {}
    for path in sorted((_ROOT / "captures").glob("*/*.txt")):
        chunks = path.read_bytes().split(b"-----8<----- ")[1:]
        found[f"{path.parent.name}/{path.stem}"] = [_restored(chunk.partition(b"\n")[2]) for chunk in chunks]
    return found


def _restored(message: bytes) -> bytes:
    head, _, body = message.partition(b"\n\n")
    lines = head.split(b"\n")
    has_length = any(line.lower().startswith((b"content-length:", b"l:")) for line in lines)
    kept = [line for line in lines if not line.lower().startswith((b"content-length:", b"l:"))]
    if has_length:
        kept.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join(kept) + b"\r\n\r\n" + body
