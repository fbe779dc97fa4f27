"""Everything the bus keeps under one address, for humans."""

from __future__ import annotations

from typing import Any

import msgspec

from presence.address import Address
from presence.edge import codec
from presence.edge.codec import base_key, pairs
from presence.edge.link import Word
from presence.ledger import pending_summary, printable


def commands(address: Address) -> list[tuple[Word, ...]]:
    """What to ask for."""
    key = base_key(address)
    return [
        ("HMGET", f"{key}:meta", "ver", "last"),
        ("HGETALL", f"{key}:sources"),
        ("HGETALL", f"{key}:endpoints"),
        ("SMEMBERS", f"{key}:interest"),
        ("HGETALL", f"{key}:pending"),
        ("HGETALL", f"{key}:cells"),
    ]


def describe(address: Address, answers: list[Any]) -> dict[str, Any]:
    """The answers to `commands`, in words; contents only by their length."""
    meta, sources, endpoints, interest, pending, cells = answers
    heads = [codec.parse_source_head(value) for _, value in sorted(pairs(sources).items())]
    waiting = sorted(codec.parse_pending(value) for value in pairs(pending).values())
    return {
        "address": str(address),
        "version": int(meta[0] or 0),
        "last_seen": msgspec.to_builtins(codec.decode_last_seen(meta[1])) if meta[1] else None,
        "sources": [
            {
                "source": printable(codec.decode_source(payload)),
                "lease": {"expires": codec.seconds(head.expires), "owner": head.owner},
                "tag": head.tag,
            }
            for head, payload in heads
        ],
        "endpoints": [
            printable(codec.parse_endpoint(name, value)) for name, value in sorted(pairs(endpoints).items())
        ],
        "interest": sorted(name.decode() for name in interest),
        "pending": [
            pending_summary(codec.decode_message(payload), dict(states)) for _, states, payload in waiting
        ],
        "cells": {
            name.decode(): {"version": cell.version, "bytes": len(cell.data)}
            for name, value in sorted(pairs(cells).items())
            for cell in (codec.parse_cell(value),)
        },
    }
