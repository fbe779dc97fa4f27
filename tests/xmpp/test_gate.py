"""`xmpp.edge.runtime.LoopGate`: something to wait at."""

from __future__ import annotations

import asyncio

import pytest

from xmpp.edge.runtime import LoopGate


async def turns() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


async def test_a_new_gate_is_open() -> None:
    async with asyncio.timeout(1):
        await LoopGate().passed()


@pytest.mark.parametrize("shut_again", [False, True])
async def test_all_who_wait_pass_when_it_opens(shut_again: bool) -> None:
    gate = LoopGate()
    gate.shut()
    waiting = [asyncio.ensure_future(gate.passed()) for _ in range(3)]
    await turns()
    assert not any(each.done() for each in waiting)
    gate.open()
    if shut_again:
        gate.shut()
    await turns()
    assert all(each.done() for each in waiting)


async def test_who_comes_when_it_is_shut_again_waits() -> None:
    gate = LoopGate()
    gate.shut()
    gate.open()
    gate.shut()
    late = asyncio.ensure_future(gate.passed())
    await turns()
    assert not late.done()
    gate.open()
    await turns()
    assert late.done()
