"""`help`: what there is to ask for."""

from __future__ import annotations

from collections.abc import Sequence

from sip.commands import Asked, command, commands


@command("help", "help: this list")
async def help_(asked: Asked) -> Sequence[str]:
    """The answers to requests are `sip.assistant`'s."""
    usages = sorted(each.usage for each in commands().values())
    return [*usages, "yes, no: the answer to who wants to see you; yes ADDRESS, no ADDRESS: where several do"]
