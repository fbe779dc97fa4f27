"""A browser nobody looks at, for the clients that live in one: Chromium, driven through WebDriver (W3C).

Pages are in `web/`; what they import comes from npm (`web/package.json`, installed by `.ci/interop-peers`),
served as `/node_modules/…`. A page does its part in functions on `window`; tests call them with `run`, and
wait with `until` for what the page has gathered.

    async with browser(tmp_path) as chromium:
        await chromium.open("sip.html")
        await chromium.run("await phone.register(args[0])", address)
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.interop.programs import need
from tests.support.inbox import PATIENCE
from tests.support.ports import free_port
from tests.support.waiting import until

WEB = Path(__file__).with_name("web")
_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.1, EXCLUDE [::1]",
    # A page that is left is gone, with its connections.
    "--disable-features=BackForwardCache",
)
_TAKEN = b"port not available"
"What chromedriver says before it gives up."
_START = 60.0
"Seconds a browser may take to start on a busy machine; usually two."
_SCRIPT = """
const args = Array.from(arguments), done = args.pop();
(async () => { %s })().then(
  value => done({value}), error => done({error: String((error && error.stack) || error)}));
"""


class Page:
    """What one browser shows."""

    def __init__(self, origin: str, http: httpx.AsyncClient, session: str) -> None:
        self.origin = origin
        "`http://127.0.0.1:PORT` its pages come from."
        self._http = http
        self._session = session

    async def _command(self, path: str, **body: Any) -> Any:
        answer = (await self._http.post(f"/session/{self._session}/{path}", json=body)).json()["value"]
        if isinstance(answer, dict) and "error" in answer:
            raise AssertionError(f"the browser: {answer['error']}: {answer.get('message', '')}")
        return answer

    async def open(self, path: str) -> None:
        """A page of `web/`, until it has loaded, modules included."""
        await self._command("url", url=f"{self.origin}/{path}")

    async def run(self, code: str, *arguments: Any) -> Any:
        """The body of an async function: its arguments are in `args`, what it returns comes back as JSON."""
        answer = await self._command("execute/async", script=_SCRIPT % code, args=list(arguments))
        if "error" in answer:
            raise AssertionError(f"in the page: {answer['error']}\n{await self.console()}")
        return answer.get("value")

    async def until(self, expression: str, *arguments: Any, patience: float = PATIENCE) -> Any:
        """Wait until an expression is true; returns what it is then."""
        found: Any = None

        async def holds() -> bool:
            nonlocal found
            found = await self.run(f"return ({expression})", *arguments)
            return bool(found)

        try:
            await until(expression, holds, patience)
        except AssertionError:
            raise AssertionError(
                f"not within {patience:g} s: {expression} with {arguments}\n{await self.console()}"
            ) from None
        return found

    async def console(self) -> str:
        """What the page has written to its console since it was last asked."""
        with contextlib.suppress(AssertionError):
            entries = await self._command("se/log", type="browser")
            return "\n".join(entry["message"] for entry in entries)
        return ""


def need_npm(*names: str) -> None:
    """Skip the test where a package from npm is missing, saying how to get it."""
    missing = [name for name in names if not (WEB / "node_modules" / name / "package.json").exists()]
    if missing:
        pytest.skip(f"{', '.join(missing)} not installed: npm ci --prefix tests/interop/web")


@contextlib.asynccontextmanager
async def browser(directory: Path) -> AsyncIterator[Page]:
    """A new Chromium with an empty profile in `directory`, and a server for its pages."""
    need("chromium", "chromedriver")
    profile = directory / "chromium"
    profile.mkdir()
    async with contextlib.AsyncExitStack() as stack:
        origin = await stack.enter_async_context(_pages())
        driver = await stack.enter_async_context(_driver(directory))
        http = await stack.enter_async_context(
            httpx.AsyncClient(verify=False, base_url=driver, trust_env=False, timeout=_START)
        )
        options = {"args": [*_FLAGS, f"--user-data-dir={profile}"]}
        wanted = {
            "goog:chromeOptions": options,
            "goog:loggingPrefs": {"browser": "ALL"},
            "acceptInsecureCerts": True,
            "timeouts": {"script": int(_START * 1000)},
        }
        answer = (await http.post("/session", json={"capabilities": {"alwaysMatch": wanted}})).json()["value"]
        assert "sessionId" in answer, f"no browser: {answer}"
        try:
            yield Page(origin, http, answer["sessionId"])
        finally:
            await http.delete(f"/session/{answer['sessionId']}")


@contextlib.asynccontextmanager
async def _pages() -> AsyncIterator[str]:
    """Serves `web/`; a secure context for the browser, as it is on loopback."""
    port = free_port()
    words = [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", "--directory", str(WEB), str(port)]
    async with _process(*words):
        async with httpx.AsyncClient(verify=False, trust_env=False) as client:

            async def answers() -> bool:
                with contextlib.suppress(httpx.TransportError):
                    return (await client.get(f"http://127.0.0.1:{port}/package.json")).is_success
                return False

            await until("the pages are served", answers, _START)
        yield f"http://127.0.0.1:{port}"


@contextlib.asynccontextmanager
async def _driver(directory: Path) -> AsyncIterator[str]:
    home = {**os.environ, "HOME": str(directory), "XDG_CONFIG_HOME": str(directory / "config")}
    async with contextlib.AsyncExitStack() as stack:
        async with asyncio.timeout(_START):
            said = _TAKEN
            while _TAKEN in said:  # it takes a free port of IPv6, and wants the same of IPv4
                process = await stack.enter_async_context(_process("chromedriver", "--port=0", env=home))
                assert process.stdout is not None
                said = b""
                while (found := re.search(rb"successfully on port (\d+)", said)) is None:
                    line = await process.stdout.readline()
                    if not line:
                        break
                    said += line
        assert found is not None, f"chromedriver ended: {said.decode()}"
        yield f"http://127.0.0.1:{int(found[1])}"


@contextlib.asynccontextmanager
async def _process(
    *words: str, env: dict[str, str] | None = None
) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        *words, env=env, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()
