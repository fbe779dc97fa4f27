"""Listening addresses as the settings of every door write them."""

from __future__ import annotations


def split_listen(text: str) -> tuple[str, int]:
    """`HOST:PORT` or `[IPv6]:PORT` as host and port. Raises `ValueError`."""
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ValueError(f"write an IPv6 address in brackets, [::1]:5222, not {text!r}")
    if not colon or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ValueError(f"{text!r} is no HOST:PORT")
    return host, int(port)
