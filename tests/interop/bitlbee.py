"""BitlBee, driven as its IRC client."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.inbox import PATIENCE
from tests.support.ports import free_port
from tests.support.waiting import until


class Bitlbee:
    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.heard: list[str] = []
        self.port = free_port()
        (directory / "bitlbee.conf").write_text("[settings]\nAuthMode = Open\n")

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            "bitlbee", "-D", "-n", "-i", "127.0.0.1", "-p", str(self.port),
            "-c", str(self.directory / "bitlbee.conf"), "-d", str(self.directory),
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip

        async def reached() -> bool:
            with contextlib.suppress(OSError):
                self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self.port)
                return True
            return False

        await until("bitlbee listens", reached, PATIENCE)
        self.send("NICK tester")
        self.send("USER tester x x :tester")
        await self.hears("JOIN :&bitlbee")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.close()
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()

    def send(self, line: str) -> None:
        self._writer.write(f"{line}\r\n".encode())

    def tell(self, command: str) -> None:
        """A command in the control channel."""
        self.send(f"PRIVMSG &bitlbee :{command}")

    async def hears(self, *texts: str, patience: float = PATIENCE) -> str:
        """The next line with one of the texts."""
        try:
            async with asyncio.timeout(patience):
                while data := await self._reader.readline():
                    line = data.decode(errors="replace").rstrip()
                    self.heard.append(line)
                    if any(text in line for text in texts):
                        return line
        except TimeoutError:
            pass
        raise AssertionError(f"bitlbee never said {texts}:\n" + "\n".join(self.heard[-30:]))

    async def log_in(self, jid: str, password: str, server: tuple[str, int]) -> str:
        """Its last word: `Logged in`, or why not."""
        self.tell(f"account add jabber {jid} {password}")
        place = (f"server {server[0]}", f"port {server[1]}")
        for setting in (*place, "tls true", "tls_verify false", "auto_reconnect false"):
            self.tell(f"account jabber set {setting}")
        self.tell("account jabber on")
        return await self.hears("Logged in", "Login error", "Authentication failure", "Signing off")
