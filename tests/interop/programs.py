"""Programs nobody here wrote, and how tests drive them."""

from __future__ import annotations

import asyncio
import contextlib
import glob
import itertools
import json
import os
import shutil
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest

from tests.support.inbox import PATIENCE
from tests.support.ports import free_port
from tests.support.waiting import until

PACKAGES = dict(line.split() for line in Path(__file__).with_name("packages.txt").read_text().splitlines())
"Program → the Debian package that has it."


def need(*programs: str) -> None:
    """Skip the test where a program is missing, saying how to get it."""
    missing = [PACKAGES[name] for name in programs if not (shutil.which(name) or glob.glob(name))]
    if missing:
        pytest.skip(f"not installed: apt install {' '.join(missing)}")


async def run(
    *words: str, cwd: Path, patience: float = 30.0, env: dict[str, str] | None = None
) -> tuple[int, str]:
    """Run to its end: exit code and all it wrote."""
    process = await asyncio.create_subprocess_exec(
        *words,
        cwd=cwd,
        env={**os.environ, **(env or {})},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(patience):
            output, _ = await process.communicate()
    except TimeoutError:
        process.kill()
        output, _ = await process.communicate()
        raise AssertionError(f"{words[0]} did not end within {patience:g} s:\n{output.decode()}") from None
    assert process.returncode is not None
    return process.returncode, output.decode(errors="replace")


_servers = itertools.count()


class Terminal:
    """A full-screen program in a tmux of its own: `type` into it, wait until its screen `shows` something."""

    def __init__(self, directory: Path, *words: str) -> None:
        self.directory = directory
        self.words = words
        self.server = f"tandem-{os.getpid()}-{next(_servers)}"

    async def _tmux(self, *words: str) -> str:
        code, output = await run(
            "tmux", "-L", self.server, "-f", "/dev/null", *words, cwd=self.directory, env=self._environment()
        )
        assert code == 0, output
        return output

    def _environment(self) -> dict[str, str]:
        return {
            "HOME": str(self.directory),
            "XDG_CONFIG_HOME": str(self.directory / "config"),
            "XDG_DATA_HOME": str(self.directory / "data"),
            "TERM": "xterm-256color",
            "LC_ALL": "C.UTF-8",
        }

    async def __aenter__(self) -> Self:
        await self._tmux("new-session", "-d", "-x", "200", "-y", "50", *self.words)
        await self._tmux("set-option", "-g", "remain-on-exit", "on")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(AssertionError):
            await self._tmux("kill-server")

    async def type(self, line: str) -> None:
        """A line and Enter."""
        await self._tmux("send-keys", "-l", line)
        await self._tmux("send-keys", "Enter")

    async def key(self, name: str) -> None:
        await self._tmux("send-keys", name)

    async def screen(self) -> str:
        return await self._tmux("capture-pane", "-p")

    async def asked(self, question: str, answer: str, patience: float = PATIENCE) -> None:
        """Type a command again and again until the screen shows its answer."""

        async def answers() -> bool:
            await self.type(question)
            await asyncio.sleep(0.2)
            return answer in await self.screen()

        await until(f"{answer!r} on the screen", answers, patience, pause=0.3)

    async def shows(self, text: str, patience: float = PATIENCE) -> str:
        """Wait for a text on the screen; returns the screen."""
        seen = ""

        async def there() -> bool:
            nonlocal seen
            seen = await self.screen()
            return text in seen

        try:
            await until(f"{text!r} on the screen", there, patience, pause=0.1)
        except AssertionError:
            raise AssertionError(f"{self.words[0]} never showed {text!r}; its screen:\n{seen}") from None
        return seen


class Baresip(Terminal):
    """The baresip phone without sound, in a terminal; commanded through its ctrl_tcp module."""

    def __init__(
        self,
        directory: Path,
        account: str,
        contacts: tuple[str, ...] = (),
        listen: str = "127.0.0.1:0",
        modules: tuple[str, ...] = (),
    ) -> None:
        """`account` and `contacts` are lines as in its files, `modules` further ones to load."""
        super().__init__(directory, "baresip", "-f", str(directory))
        self.control = free_port()
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "config").write_text(
            f"sip_listen {listen}\nmodule_path /usr/lib/baresip/modules\nmodule stdio.so\n"
            f"{''.join(f'module {name}.so' + chr(10) for name in modules)}"
            "module_tmp account.so\nmodule_app contact.so\nmodule_app presence.so\nmodule_app menu.so\n"
            f"module ctrl_tcp.so\nctrl_tcp_listen 127.0.0.1:{self.control}\n"
        )
        (directory / "accounts").write_text(account + "\n")
        (directory / "contacts").write_text("".join(f"{line}\n" for line in contacts))

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        await self.shows("baresip is ready")
        return self

    async def quit(self) -> None:
        """Begin to unregister and end, as a user would."""
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            await self.command("quit")

    async def command(self, command: str, parameters: str = "") -> str:
        """Its answer to one command (JSON in netstrings)."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.control)
        try:
            data = json.dumps({"command": command, "params": parameters, "token": "t"}).encode()
            writer.write(b"%d:%s," % (len(data), data))
            while True:
                length = int((await reader.readuntil(b":"))[:-1])
                answer: dict[str, Any] = json.loads((await reader.readexactly(length + 1))[:-1])
                if answer.get("response"):
                    return str(answer.get("data", ""))
        finally:
            writer.close()
            await writer.wait_closed()


async def sipp(
    directory: Path,
    scenario: Path,
    server: tuple[str, int],
    *,
    keys: dict[str, str],
    options: tuple[str, ...] = (),
) -> None:
    """Play one scenario; fails with SIPp's own log when a call fails."""
    words = ["sipp", f"{server[0]}:{server[1]}", "-sf", str(scenario), "-m", "1", "-i", "127.0.0.1"]
    words += ["-timeout", "20s", "-timeout_error", "-trace_err", "-error_file", "errors.log", "-nostdin"]
    for name, value in keys.items():
        words += ["-key", name, value]
    code, output = await run(*words, *options, cwd=directory)
    log = directory / "errors.log"
    assert code == 0, f"sipp ended with {code}\n{log.read_text() if log.exists() else ''}\n{output[-3000:]}"
