"""sipsak: OPTIONS, registration, messages both ways."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.interop.programs import need, run
from tests.support.stage import Person, Stage
from tests.support.tandem import DOMAIN

pytestmark = pytest.mark.interop


@pytest.fixture(autouse=True)
def _installed() -> None:
    need("sipsak")


async def sipsak(stage: Stage, tmp_path: Path, *words: str) -> str:
    code, output = await run(
        "sipsak", "-p", f"127.0.0.1:{stage.tandem.sip_port}", "--local-ip=127.0.0.1", "-H", "127.0.0.1",
        *words,
        cwd=tmp_path,
    )  # fmt: skip
    assert code == 0, f"sipsak ended with {code}:\n{output}"
    return output


def user(person: Person) -> tuple[str, ...]:
    local = person.address.partition("@")[0]
    return ("-u", local, "-a", person.password)


async def test_sipsak_gets_an_answer_to_options(stage: Stage, tmp_path: Path) -> None:
    answer = await sipsak(stage, tmp_path, "-vv", "-s", f"sip:{DOMAIN}")
    assert "200 OK" in answer
    assert "SUBSCRIBE" in answer


async def test_sipsak_registers_and_is_seen(stage: Stage, tmp_path: Path) -> None:
    alice, bob = await stage.friends("alice", "bob")
    async with stage.client(alice) as desk:
        contact = f"sip:{bob.address.partition('@')[0]}@127.0.0.1:9"
        await sipsak(stage, tmp_path, "-U", "-C", contact, "-x", "60", *user(bob), "-s", f"sip:{bob.address}")
        await desk.online(bob.address)


async def test_sipsak_sends_a_message(stage: Stage, tmp_path: Path) -> None:
    """From a file: Debian's sipsak crashes in its own message mode."""
    alice, bob = await stage.friends("alice", "bob")
    lines = [
        f"MESSAGE sip:{alice.address} SIP/2.0",
        f"From: <sip:{bob.address}>;tag=s1",
        f"To: <sip:{alice.address}>",
        f"Call-ID: shoot-{bob.address}",
        "CSeq: 1 MESSAGE",
        "User-Agent: sipsak",
        "Max-Forwards: 70",
        "Content-Type: text/plain",
        "Content-Length: 17",
        "",
        "Hello from sipsak",
    ]
    (tmp_path / "message").write_bytes("\r\n".join(lines).encode())
    async with stage.client(alice) as desk:
        await sipsak(stage, tmp_path, "-f", "message", "-L", *user(bob), "-s", f"sip:{alice.address}")
        heard = await desk.hears("Hello from sipsak")
        assert heard["from"].bare == bob.address
