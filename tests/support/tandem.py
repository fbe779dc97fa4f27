"""The real gateway for tests: `tandem run` on free ports, in a directory of its own."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any

import httpx

from tests.support import processes
from tests.support.ports import free_port

DOMAIN = "tandem.test"
START = 60.0
"Seconds a start may take on a busy machine; usually two."


class Tandem:
    """One running gateway: its ports, its processes, its admin API, its logs."""

    def __init__(self, directory: Path, **settings: str) -> None:
        """`settings`: names as in the environment, without the prefix: `SIP__MIN_EXPIRES="2"`."""
        self.directory = directory
        self.log = directory / "tandem.log"
        self.sip_port, self.sips_port, self.xmpp_port, self.xmpps_port, self.admin_port = (
            free_port() for _ in range(5)
        )
        self.sip_web_port, self.sip_webs_port, self.xmpp_web_port, self.xmpp_webs_port = (
            free_port() for _ in range(4)
        )
        self.environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith("TANDEM_")},
            **{f"TANDEM_{name}": value for name, value in (self._defaults() | settings).items()},
        }
        self._process: asyncio.subprocess.Process | None = None

    def _defaults(self) -> dict[str, str]:
        return {
            "DOMAINS": DOMAIN,
            "STATE_DIR": str(self.directory / "state"),
            "XMPP__LISTEN": f"[::]:{self.xmpp_port}",
            "XMPP__LISTEN_TLS": f"[::]:{self.xmpps_port}",
            "SIP__LISTEN_UDP": f"[::]:{self.sip_port}",
            "SIP__LISTEN_TCP": f"[::]:{self.sip_port}",
            "SIP__LISTEN_TLS": f"[::]:{self.sips_port}",
            "SIP__LISTEN_WEB": f"[::]:{self.sip_web_port}",
            "SIP__LISTEN_WEB_TLS": f"[::]:{self.sip_webs_port}",
            "XMPP__LISTEN_WEB": f"[::]:{self.xmpp_web_port}",
            "XMPP__LISTEN_WEB_TLS": f"[::]:{self.xmpp_webs_port}",
            "ADMIN__PORT": str(self.admin_port),
            "LOG__LEVEL": "info",
        }

    async def start(self) -> None:
        """Start and return when every role has said that it serves (`sd_notify`'s READY=1)."""
        self.directory.mkdir(parents=True, exist_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified, self.log.open("ab") as log:
            notified.setblocking(False)
            name = f"\0tandem-test-{os.getpid()}-{next(_counter)}"
            notified.bind(name)
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "gateway", "run",
                cwd=self.directory, env=self.environment | {"NOTIFY_SOCKET": "@" + name[1:]},
                stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
            ended = asyncio.ensure_future(self._process.wait())
            ready = asyncio.ensure_future(self._ready(notified))
            try:
                await asyncio.wait([ended, ready], timeout=START, return_when=asyncio.FIRST_COMPLETED)
                if ended.done() or not ready.done():
                    raise AssertionError(f"tandem did not get ready:\n{self.logged()}")
            finally:
                ready.cancel()
                ended.cancel()

    async def _ready(self, notified: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while b"READY=1" not in await loop.sock_recv(notified, 4096):
            pass

    async def stop(self) -> int:
        """SIGTERM, and its exit code."""
        process = self._process
        if process is None:
            return 0
        if process.returncode is None:
            process.terminate()
            try:
                async with asyncio.timeout(30):
                    await process.wait()
            except TimeoutError:
                leftover = processes.descendants(process.pid)
                process.kill()
                for pid in leftover:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                await process.wait()
                raise AssertionError(f"tandem did not stop within 30 s:\n{self.logged()}") from None
        assert process.returncode is not None
        return process.returncode

    # --- its processes ---

    @property
    def supervisor(self) -> int:
        assert self._process is not None, "tandem is not started"
        return self._process.pid

    def pids(self) -> dict[str, int]:
        """Role, or `valkey`, → process id, of those alive."""
        found: dict[str, int] = {}
        for pid in processes.descendants(self.supervisor):
            words = processes.command(pid)
            if "--only" in words:
                found.setdefault(words[words.index("--only") + 1], pid)
            elif words and "valkey" in words[0]:  # the first is the server, others rewrite its file and end
                found.setdefault("valkey", pid)
        return found

    def pid_of(self, node: str) -> int:
        """Of the process with that name: `xmpp-2`."""
        role, _, index = node.rpartition("-")
        for pid in processes.descendants(self.supervisor):
            if processes.command(pid)[-4:] == ["--only", role, "--index", index]:
                return pid
        raise AssertionError(f"there is no {node}")

    async def listens(self, port: int) -> bool:
        """Somebody takes connections there."""
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            return False
        writer.close()
        return True

    def kill(self, role: str) -> int:
        """`kill -9` one role's process or `valkey`; returns the id it had."""
        pid = self.pids()[role]
        os.kill(pid, signal.SIGKILL)
        return pid

    async def kill_all(self) -> None:
        """`kill -9` the supervisor and everything below it, as a power cut would."""
        for pid in (self.supervisor, *processes.descendants(self.supervisor)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        assert self._process is not None
        await self._process.wait()

    # --- its insides ---

    async def healthy(self) -> bool:
        """Every node is alive and bus and store answer."""
        with contextlib.suppress(httpx.HTTPError, OSError):
            async with httpx.AsyncClient(verify=False, trust_env=False, timeout=5) as client:
                answer = await client.get(f"http://127.0.0.1:{self.admin_port}/health")
                return bool(answer.is_success and answer.json()["status"] == "ok")
        return False

    async def metrics(self) -> str:
        """What Prometheus would read."""
        async with httpx.AsyncClient(verify=False, trust_env=False) as client:
            return (await client.get(f"http://127.0.0.1:{self.admin_port}/metrics")).text

    async def api(self, path: str, **query: str) -> Any:
        """One answer of the admin API."""
        from gateway.admin.contact import read_contact

        contact = read_contact(self.directory / "state")
        assert contact is not None, "no admin contact file"
        async with httpx.AsyncClient(
            verify=False,
            base_url=contact.url,
            headers={"Authorization": f"Bearer {contact.token}"},
            trust_env=False,
        ) as client:
            response = await client.get(path, params=query)
            response.raise_for_status()
            return response.json()

    async def command(self, *arguments: str, stdin: str = "") -> str:
        """What `tandem ARGUMENTS` prints; fails the test when it fails."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "gateway", *arguments,
            cwd=self.directory, env=self.environment | {"COLUMNS": "200"},
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        output, _ = await process.communicate(stdin.encode())
        assert process.returncode == 0, (
            f"tandem {' '.join(arguments)}: {process.returncode}\n{output.decode()}"
        )
        return output.decode()

    def logged(self, lines: int = 25) -> str:
        """The end of what it wrote."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


_counter = itertools.count()
