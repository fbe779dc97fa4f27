"""Servers nobody here wrote, on free loopback ports: FreeRADIUS, coturn, slapd, Kamailio."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.inbox import PATIENCE
from tests.support.ports import free_port
from tests.support.waiting import until


class Server:
    """A program in the foreground; it is up when it has printed `ready`, or without that listens."""

    ready = ""
    grace = 5.0
    "Seconds it may take to stop."

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.host = "127.0.0.1"
        self.port = free_port()
        self.output = directory / "output"
        self._process: asyncio.subprocess.Process | None = None

    def words(self) -> list[str]:
        raise NotImplementedError

    def environment(self) -> dict[str, str] | None:
        """Ours where there is none of its own."""
        return None

    async def start(self) -> None:
        with self.output.open("ab") as output:
            self._process = await asyncio.create_subprocess_exec(
                *self.words(), cwd=self.directory, env=self.environment(),
                stdin=asyncio.subprocess.DEVNULL, stdout=output, stderr=output,
            )  # fmt: skip
        try:
            await until(f"{self.words()[0]} is up", self.is_up, PATIENCE)
        except AssertionError:
            raise AssertionError(f"{self.words()[0]} did not start:\n{self.printed()}") from None

    async def is_up(self) -> bool:
        if self.ready:
            return self.ready in self.printed()
        with suppress(OSError), socket.create_connection((self.host, self.port), timeout=1):
            return True
        return False

    async def stop(self) -> None:
        process, self._process = self._process, None
        if process is None or process.returncode is not None:
            return
        process.terminate()
        try:
            async with asyncio.timeout(self.grace):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()

    def printed(self) -> str:
        return self.output.read_text(errors="replace")[-4000:]

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()


SECRET = "shared secret"

_RADIUSD = """
name = radiusd
prefix = {folder}
logdir = {folder}
radacctdir = {folder}
run_dir = {folder}
libdir = /usr/lib/freeradius
pidfile = {folder}/pid
max_request_time = 5
security {{
  reject_delay = 0
}}
client test {{
  ipaddr = 127.0.0.1
  secret = "{secret}"
}}
modules {{
  digest {{ }}
  files {{
    filename = {folder}/users
    key = "%{{User-Name}}"
  }}
  always reject {{
    rcode = reject
  }}
}}
server default {{
  listen {{
    type = auth
    ipaddr = 127.0.0.1
    port = {port}
  }}
  authorize {{
    digest
    files
  }}
  authenticate {{
    digest
  }}
  post-auth {{
    {signed}
    Post-Auth-Type REJECT {{
      {signed}
    }}
  }}
}}
"""
_SIGNED = "update reply { Message-Authenticator := 0x00 }"


class FreeRadius(Server):
    """FreeRADIUS with `rlm_digest` and its users in a file: passwords, or HA1."""

    ready = "Ready to process requests"

    def __init__(self, directory: Path, users: dict[str, str], *, signed: bool = True) -> None:
        """`users`: name → check items, `Cleartext-Password := "secret"`."""
        super().__init__(directory)
        (directory / "users").write_text("".join(f"{name} {items}\n" for name, items in users.items()))
        (directory / "radiusd.conf").write_text(
            _RADIUSD.format(folder=directory, port=self.port, secret=SECRET, signed=_SIGNED if signed else "")
        )

    def words(self) -> list[str]:
        return ["freeradius", "-X", "-d", str(self.directory)]

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"


class Coturn(Server):
    """coturn with long-term credentials: users by their HA1, or by a shared secret."""

    def __init__(
        self, directory: Path, realm: str, *, users: dict[str, str] | None = None, secret: str = ""
    ) -> None:
        """`users`: login → MD5 HA1."""
        super().__init__(directory)
        lines = [
            f"listening-port={self.port}",
            "listening-ip=127.0.0.1",
            "relay-ip=127.0.0.1",
            f"realm={realm}",
            "fingerprint",
            "no-tls",
            "no-dtls",
            "no-cli",
            "allow-loopback-peers",
            "log-file=stdout",
            f"userdb={directory}/turndb",
            f"pidfile={directory}/pid",
        ]
        if secret:
            lines += ["use-auth-secret", f"static-auth-secret={secret}"]
        else:
            lines += ["lt-cred-mech", *(f"user={login}:0x{ha1}" for login, ha1 in (users or {}).items())]
        (directory / "turnserver.conf").write_text("\n".join(lines) + "\n")

    def words(self) -> list[str]:
        return ["turnserver", "-c", str(self.directory / "turnserver.conf")]


_SLAPD = """
include /etc/ldap/schema/core.schema
modulepath /usr/lib/ldap
moduleload back_mdb
pidfile {folder}/pid
database mdb
suffix "dc=example,dc=org"
rootdn "cn=admin,dc=example,dc=org"
directory {folder}/data
access to attrs=userPassword by anonymous auth
access to * by * none
"""


class Slapd(Server):
    """OpenLDAP with people under `ou=people`."""

    ready = "slapd starting"

    def __init__(self, directory: Path, people: dict[str, str]) -> None:
        """`people`: uid → password."""
        super().__init__(directory)
        (directory / "data").mkdir()
        (directory / "slapd.conf").write_text(_SLAPD.format(folder=directory))
        entries = [
            "dn: dc=example,dc=org\nobjectClass: dcObject\nobjectClass: organization\ndc: example\no: E\n",
            "dn: ou=people,dc=example,dc=org\nobjectClass: organizationalUnit\nou: people\n",
        ]
        entries += [
            f"dn: cn={name},ou=people,dc=example,dc=org\nobjectClass: person\ncn: {name}\nsn: {name}\n"
            f"userPassword: {password}\n"
            for name, password in people.items()
        ]
        (directory / "people.ldif").write_text("\n".join(entries))

    async def start(self) -> None:
        from tests.interop.programs import run

        config = str(self.directory / "slapd.conf")
        if not (self.directory / "data" / "data.mdb").exists():
            code, output = await run(
                "slapadd", "-f", config, "-l", str(self.directory / "people.ldif"), cwd=self.directory
            )
            assert code == 0, output
        await super().start()

    def words(self) -> list[str]:
        config = str(self.directory / "slapd.conf")
        return ["slapd", "-f", config, "-h", self.url, "-d", "stats"]

    @property
    def url(self) -> str:
        return f"ldap://127.0.0.1:{self.port}/"


class Kamailio(Server):
    """The SIP proxy of docs/kamailio.md, in front of a Tandem that is reached at 127.0.0.2."""

    config = Path(__file__).parents[2] / "docs" / "examples" / "kamailio.cfg"

    def __init__(self, directory: Path, tandem: str, *, users: dict[str, str] | None = None) -> None:
        """`tandem`: `PORT;transport=tcp`. `users`: address → MD5 HA1; without them Tandem asks for the
        password."""
        super().__init__(directory)
        self.tandem = tandem
        self.users = users
        lines = [f'    $sht(users=>{address}) = "{ha1}";' for address, ha1 in (users or {}).items()]
        text = "\n".join(["event_route[htable:mod-init] {", *lines, "}", ""])
        (directory / "tandem-users.cfg").write_text(text)

    def words(self) -> list[str]:
        defines = [
            f"LISTEN={self.host}:{self.port}",
            f'TANDEM="sip:127.0.0.2:{self.tandem}"',
            "TANDEM_IP=127.0.0.2",
            *(["WITH_AUTH"] if self.users is not None else []),
        ]
        words = ["kamailio", "-DD", "-E", "-f", str(self.config), "-w", str(self.directory), "-m", "32"]
        words += ["-Y", str(self.directory), "-P", str(self.directory / "pid")]
        return [*words, *(word for define in defines for word in ("-A", define))]
