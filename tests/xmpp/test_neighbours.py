"""A BOSH session lives in one process; the others hand its requests on."""

from __future__ import annotations

import asyncio
import stat
from pathlib import Path

from xmpp.edge.neighbours import Gone, Neighbours, Said


async def for_ever() -> None:
    await asyncio.Event().wait()


class Process:
    def __init__(self, directory: Path, node: str) -> None:
        self.neighbours = Neighbours(directory, node, self.answer)
        self.asked: list[bytes] = []
        self.begun = asyncio.Event()
        self.left = asyncio.Event()

    async def answer(self, data: bytes, gone: Gone) -> Said:
        self.asked.append(data)
        self.begun.set()
        if data == b"wait":
            await gone()
            self.left.set()
        return Said(b"answer to " + data, 200, "text/xml")


async def two(directory: Path) -> tuple[Process, Process]:
    made = Process(directory, "xmpp-1"), Process(directory, "xmpp-2")
    for each in made:
        await each.neighbours.start()
    return made


async def test_a_request_is_answered_by_the_process_that_has_the_session(tmp_path: Path) -> None:
    one, other = await two(tmp_path)
    data = b"x" * 300_000
    assert one.neighbours.owner("xmpp-2.abc") == "xmpp-2"
    said = await one.neighbours.ask("xmpp-2", data, for_ever)
    assert said == Said(b"answer to " + data, 200, "text/xml")
    assert (one.asked, other.asked) == ([], [data])
    for each in (one, other):
        await each.neighbours.stop()


async def test_who_asks_for_its_own_or_nobodys_asks_nobody(tmp_path: Path) -> None:
    one = Process(tmp_path, "xmpp-1").neighbours
    for sid in ("xmpp-1.abc", "abc", "", "../x.abc", "a b.c"):
        assert one.owner(sid) == ""


async def test_a_process_that_is_not_there_answers_nothing(tmp_path: Path) -> None:
    one, other = await two(tmp_path)
    await other.neighbours.stop()
    assert await one.neighbours.ask("xmpp-2", b"data", for_ever) is None
    assert await one.neighbours.ask("xmpp-9", b"data", for_ever) is None
    await one.neighbours.stop()


async def test_when_the_client_goes_the_other_process_hears_of_it(tmp_path: Path) -> None:
    one, other = await two(tmp_path)
    leaves = asyncio.Event()

    async def until_it_leaves() -> None:
        await leaves.wait()

    asking = asyncio.ensure_future(one.neighbours.ask("xmpp-2", b"wait", until_it_leaves))
    await other.begun.wait()
    leaves.set()
    assert await asking is None
    await asyncio.wait_for(other.left.wait(), 10)
    for each in (one, other):
        await each.neighbours.stop()


async def test_only_their_user_reaches_the_sockets(tmp_path: Path) -> None:
    one = Process(tmp_path, "xmpp-1")
    await one.neighbours.start()
    modes = [path.stat().st_mode for path in everything(tmp_path)]
    assert [mode & 0o077 for mode in modes if stat.S_ISSOCK(mode)] == [0]
    await one.neighbours.stop()


def everything(directory: Path) -> list[Path]:
    return list(directory.rglob("*"))
