"""aioxmpp and go-sendxmpp: each logs in, sees a phone or is heard by it, and chats with it."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.interop.programs import need, run
from tests.support.inbox import PATIENCE
from tests.support.pidf import pidf
from tests.support.stage import Person, Stage

pytestmark = pytest.mark.interop

PACKAGES = Path(__file__).parents[2] / ".peers" / "aioxmpp"
"Where `.ci/interop-peers` put it: it wants an older lxml than we have."
CLIENT = Path(__file__).with_name("aioxmpp_client.py")


async def test_aioxmpp_sees_a_phone_and_chats_with_it(stage: Stage) -> None:
    if not PACKAGES.is_dir():
        pytest.skip(f"not installed: pip install --target {PACKAGES} aioxmpp pytz")
    alice, bob = await stage.friends("alice", "bob")
    async with stage.phone(bob) as phone:
        await phone.register()
        process = await asyncio.create_subprocess_exec(
            sys.executable, str(CLIENT), stage.host, str(stage.tandem.xmpp_port), alice.address,
            alice.password, bob.address, env=os.environ | {"PYTHONPATH": str(PACKAGES)},
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip

        async def told(event: str) -> dict[str, Any]:
            assert process.stdout is not None
            async with asyncio.timeout(3 * PATIENCE):
                line = await process.stdout.readline()
            assert line, await process.communicate()
            said: dict[str, Any] = json.loads(line)
            assert said["event"] == event
            return said

        try:
            assert (await told("in"))["roster"] == [bob.address]
            assert ["server", "im"] in (await told("disco"))["identities"]
            await phone.hears("Hello from aioxmpp", 3 * PATIENCE)
            await phone.publish(pidf(bob.address, show="dnd", note="On holiday"))
            seen = await told("presence")
            assert (seen["show"], seen["status"]) == ("dnd", "On holiday")
            await phone.message(alice.address, "Hello aioxmpp")
            said = await told("message")
            assert (said["sender"], said["body"]) == (bob.address, "Hello aioxmpp")
            await phone.hears("You said Hello aioxmpp", 3 * PATIENCE)
            async with asyncio.timeout(3 * PATIENCE):
                assert await process.wait() == 0
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


def go_sendxmpp(stage: Stage, person: Person, *more: str) -> list[str]:
    server = f"{stage.host}:{stage.tandem.xmpp_port}"
    return ["go-sendxmpp", "-n", "-u", person.address, "-p", person.password, "-j", server, *more]


async def test_go_sendxmpp_is_heard_by_a_phone(stage: Stage, tmp_path: Path) -> None:
    need("go-sendxmpp")
    alice, bob = await stage.friends("alice", "bob")
    text = tmp_path / "text"
    text.write_text("The backup is done")
    async with stage.phone(bob) as phone:
        await phone.register()
        words = go_sendxmpp(stage, alice, "-m", str(text), bob.address)
        code, output = await run(*words, cwd=tmp_path)
        assert code == 0, output
        await phone.received("MESSAGE", "the message", lambda m: b"The backup is done" in m.body)


async def test_go_sendxmpp_hears_a_phone(stage: Stage, tmp_path: Path) -> None:
    need("go-sendxmpp")
    alice, bob = await stage.friends("alice", "bob")
    async with stage.phone(bob) as phone:
        await phone.register()
        process = await asyncio.create_subprocess_exec(
            *go_sendxmpp(stage, alice, "-l", bob.address), cwd=tmp_path, stdout=asyncio.subprocess.PIPE
        )
        try:
            assert process.stdout is not None
            assert (await phone.message(alice.address, "Hello go-sendxmpp")).status in (200, 202)
            heard = b""
            async with asyncio.timeout(3 * PATIENCE):
                while b"Hello go-sendxmpp" not in heard:
                    line = await process.stdout.readline()
                    assert line, heard
                    heard += line
            assert bob.address.encode() in heard
        finally:
            process.kill()
            await process.wait()
