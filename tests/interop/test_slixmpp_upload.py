"""slixmpp's HTTP File Upload (XEP-0363), with two XMPP processes: a file is put, and its address crosses to a
phone."""

from __future__ import annotations

import io
import os
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from slixmpp.plugins.xep_0363 import FileTooBig

from tests.conftest import FAST
from tests.support.stage import Stage, open_stage
from tests.support.tandem import Tandem

pytestmark = pytest.mark.interop

PLUGINS = ("xep_0030", "xep_0363")


@pytest.fixture(scope="module")
async def shared_stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    tandem = Tandem(
        tmp_path_factory.mktemp("tandem"), **FAST, PROCESSES__XMPP="2", XMPP__UPLOAD__MAX_SIZE="3000000"
    )
    address = f"http://127.0.0.1:{tandem.xmpp_web_port}"
    tandem.environment["TANDEM_XMPP__WEB__PUBLIC_URL"] = address
    async with open_stage(tandem, "127.0.0.1") as stage:
        yield stage


async def test_a_file_is_found_by_whoever_has_its_address(stage: Stage, tmp_path: Path) -> None:
    alice, bob = await stage.friends("alice", "bob")
    data = os.urandom(2_500_000)
    file = tmp_path / "très cool.png"
    file.write_bytes(data)
    async with stage.client(alice, plugins=PLUGINS) as desk, stage.phone(bob) as phone:
        await phone.register()
        url = await desk.xmpp.plugin["xep_0363"].upload_file(file, content_type="image/png")
        desk.say(bob.address, url)
        await phone.hears(url)
    for _ in range(4):  # some of them answered by the other process
        async with httpx.AsyncClient(verify=False, trust_env=False) as http:
            got = await http.get(url)
        assert got.content == data
        assert got.headers["content-type"] == "image/png"
        assert got.headers["content-disposition"] == "inline; filename*=utf-8''tr%C3%A8s%20cool.png"


async def test_it_knows_the_limit_and_keeps_it(stage: Stage) -> None:
    (alice,) = await stage.friends("alice")
    async with stage.client(alice, plugins=PLUGINS) as desk:
        with pytest.raises(FileTooBig):
            await desk.xmpp.plugin["xep_0363"].upload_file(
                Path("large.bin"), size=3_000_001, input_file=io.BytesIO()
            )
