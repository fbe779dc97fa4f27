"""`HOST:PORT` as settings write it."""

from __future__ import annotations


def parse_host_port(text: str) -> tuple[str, int]:
    """Host, without an IPv6 address's brackets, and port. Raises `ValueError`."""
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ValueError(f"write an IPv6 address in brackets, [::1]:1812, not {text!r}")
    if not (colon and host and port.isascii() and port.isdigit() and 0 < int(port) <= 65535):
        raise ValueError(f"HOST:PORT is wanted, not {text!r}")
    return host, int(port)
