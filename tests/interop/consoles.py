"""Phones with a console: lines in, lines out."""

from __future__ import annotations

import asyncio
import contextlib
import os
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.inbox import PATIENCE
from tests.support.ports import free_port
from tests.support.stage import Person
from tests.support.waiting import until


class Console:
    """A program with its home in a directory of its own."""

    def __init__(self, directory: Path, *words: str) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.words = words
        self.output = ""
        "All it wrote."
        self._read_to = 0
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        home = str(self.directory)
        self._process = await asyncio.create_subprocess_exec(
            *self.words, cwd=self.directory, env={**os.environ, "HOME": home, "LC_ALL": "C.UTF-8"},
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        self._reading = asyncio.create_task(self._read(self._process))
        return self

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        while data := await process.stdout.read(65536):
            self.output += data.decode(errors="replace")

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process is not None
        assert self._reading is not None
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()
        await self._reading

    def type(self, line: str) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(line.encode() + b"\n")

    async def shows(self, text: str, patience: float = PATIENCE * 2) -> None:
        """Wait until it writes this, behind what was waited for before."""
        try:
            await until(f"{text!r} in the output", lambda: text in self.output[self._read_to :], patience)
        except AssertionError:
            raise AssertionError(
                f"{self.words[0]} never wrote {text!r}; it wrote:\n{self.output[-3000:]}"
            ) from None
        self._read_to = self.output.index(text, self._read_to) + len(text)

    async def quit(self) -> None:
        """End as a user would, and wait for it."""
        self.type("quit")
        assert self._process is not None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE * 2):
                await self._process.wait()


class Linphone(Console):
    """Debian's `linphonec`, with a friend it watches."""

    def __init__(
        self, directory: Path, person: Person, friend: str, server: tuple[str, int], transport: str
    ) -> None:
        super().__init__(directory, "linphonec", "-c", "linphonerc")
        linphonerc(directory, person, server, transport)
        with (directory / "linphonerc").open("a") as config:
            config.write(f"""[friend_0]
url="friend" <sip:{friend}>
pol=accept
subscribe=1
""")


def linphonerc(directory: Path, person: Person, server: tuple[str, int], transport: str) -> None:
    """Linphone's home with one account."""
    user, _, domain = person.address.partition("@")
    (directory / ".local/share/linphone").mkdir(parents=True)
    (directory / ".config/linphone").mkdir(parents=True)
    port, way = free_port(), f"sip:{server[0]}:{server[1]};transport={transport}"
    (directory / "linphonerc").write_text(f"""
[sip]
sip_port={port}
sip_tcp_port={port}
sip_tls_port=0
default_proxy=0
guess_hostname=0
register_only_when_network_is_up=0
[proxy_0]
reg_proxy=<{way}>
reg_route=<{way};lr>
reg_identity=<sip:{person.address}>
reg_expires=60
reg_sendregister=1
publish=1
publish_expires=60
[auth_info_0]
username={user}
passwd={person.password}
realm={domain}
domain={domain}
""")


class Twinkle(Console):
    """Debian's `twinkle-console`."""

    def __init__(self, directory: Path, person: Person, server: tuple[str, int], transport: str) -> None:
        super().__init__(directory, "twinkle-console", "phone.cfg")
        user, _, domain = person.address.partition("@")
        home = directory / ".twinkle"
        home.mkdir()
        (home / "phone.cfg").write_text(f"""
user_name={user}
user_domain={domain}
auth_realm={domain}
auth_name={user}
auth_pass={person.password}
use_outbound_proxy=yes
outbound_proxy={server[0]}:{server[1]}
all_requests_to_proxy=yes
register_at_startup=yes
registration_time=60
sip_transport={transport}
pres_publish_startup=yes
pres_publication_time=60
""")
        (home / "twinkle.sys").write_text(f"""
sip_port={free_port()}
rtp_port={free_port()}
dev_ringtone=null:
dev_speaker=null:
dev_mic=null:
validate_audio_dev=no
log_sip=yes
""")
