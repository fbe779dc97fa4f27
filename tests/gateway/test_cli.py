"""The command line as its user meets it: help, configuration, check and accounts."""

from __future__ import annotations

import os
import re
import shlex
import socket
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
from typer.testing import CliRunner, Result

from gateway import certs
from gateway.cli import commands
from gateway.cli.app import app
from gateway.exits import Exit
from presence.discovery import load

ROOT = Path(__file__).parents[2]
load(commands.__name__)


class Shell:
    """A directory to run commands in."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.environment = {"TANDEM_STATE_DIR": str(directory / "state"), "COLUMNS": "200"}

    def run(self, *arguments: str, stdin: str = "", **settings: str) -> Result:
        extra = {f"TANDEM_{name}": value for name, value in settings.items()}
        return CliRunner().invoke(app, list(arguments), input=stdin, env=self.environment | extra)


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    import os

    for name in [name for name in os.environ if name.startswith("TANDEM_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return Shell(tmp_path)


def every_command(command: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    below = getattr(command, "commands", None)
    if below is None:
        yield path, command
        return
    for name, each in below.items():
        yield from every_command(each, f"{path} {name}".strip())


ALL = dict(every_command(typer.main.get_command(app)))


def test_what_a_command_writes_is_nobody_elses_to_read(tmp_path: Path) -> None:
    environment = {"PATH": os.environ["PATH"], "TANDEM_STATE_DIR": str(tmp_path / "state")}
    subprocess.run(
        [sys.executable, "-m", "gateway", "user", "add", "alice@localhost"],
        input=b"secret\n",
        env=environment,
        cwd=ROOT,
        check=True,
        umask=0o022,
    )
    made = [path for path in (tmp_path / "state").rglob("*") if path.is_file()]
    assert made
    assert not [path for path in made if path.stat().st_mode & 0o077]


def test_every_command_is_there() -> None:
    assert sorted(ALL) == [
        *(
            "bans lift",
            "bans list",
            "bus tail",
            "check",
            "config",
            "presence show",
            "rooms destroy",
            "rooms grant",
            "rooms list",
            "rooms show",
            "run",
            "sessions",
            "trace",
        ),
        *("user add", "user delete", "user disable", "user enable", "user export", "user import"),
        *("user invite", "user list", "user passwd", "version", "who-sees"),
    ]


@pytest.mark.parametrize("path", sorted(ALL))
def test_every_command_option_and_argument_is_explained(path: str) -> None:
    command = ALL[path]
    assert command.help
    assert [parameter.name for parameter in command.params if not parameter.help] == []


@pytest.mark.parametrize("path", sorted(ALL))
def test_every_command_that_takes_something_has_examples_it_understands(path: str) -> None:
    command = ALL[path]
    examples = re.findall(r"`tandem ([^`>]+)", command.epilog or "")
    assert examples or not any(each.param_type_name == "argument" for each in command.params)
    for text in examples:
        before, found, after = f" {text} ".partition(f" {path} ")
        assert found
        assert not before.split() or before.split()[0] == "--config"
        command.make_context(path, shlex.split(after))


def test_the_documentation_names_every_command_and_exit_code() -> None:
    text = (ROOT / "docs" / "cli.md").read_text()
    assert [path for path in ALL if f"`tandem {path}" not in text] == []
    assert [code for code in Exit if f"| {int(code)} |" not in text] == []


def test_config_prints_a_file_that_loads(shell: Shell) -> None:
    printed = shell.run("config")
    assert printed.exit_code == 0
    (shell.directory / "tandem.toml").write_text(printed.output)
    assert shell.run("config", "--effective").exit_code == 0


def test_wrong_settings_are_all_told_with_exit_code_78(shell: Shell) -> None:
    result = shell.run("config", "--effective", ADMIN__PORT="x", NONSENSE="1")
    assert result.exit_code == Exit.CONFIG
    assert "admin.port: " in result.output
    assert "nonsense: there is no such setting (environment TANDEM_NONSENSE)" in result.output


# --- check -------------------------------------------------------------------------------------------


def free(**more: str) -> dict[str, str]:
    """Settings with which nothing is in the way."""
    doors = {"XMPP": ("", "_TLS", "_WEB", "_WEB_TLS"), "SIP": ("_UDP", "_TCP", "_TLS", "_WEB", "_WEB_TLS")}
    listening = [f"{door}__LISTEN{kind}" for door, kinds in doors.items() for kind in kinds]
    return {**dict.fromkeys(listening, "127.0.0.1:0"), "ADMIN__PORT": "0", **more}


def test_check_is_content_with_free_ports(shell: Shell) -> None:
    result = shell.run("check", **free())
    assert result.exit_code == 0, result.output
    assert "Tandem can start with this configuration" in result.output


def test_check_names_each_taken_port_with_its_setting(shell: Shell) -> None:
    with socket.create_server(("127.0.0.1", 0)) as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
        udp.bind(("127.0.0.1", 0))
        taken, also = f"127.0.0.1:{tcp.getsockname()[1]}", f"127.0.0.1:{udp.getsockname()[1]}"
        result = shell.run("check", **free(XMPP__LISTEN=taken, SIP__LISTEN_UDP=also))
    assert result.exit_code == Exit.CONFIG
    assert f"xmpp.listen: {taken}/tcp is taken by another program" in result.output
    assert f"sip.listen_udp: {also}/udp is taken by another program" in result.output


def test_check_tells_problems_of_all_kinds_at_once(shell: Shell) -> None:
    result = shell.run(
        "check",
        **free(
            TLS__CERTIFICATE="absent.pem",
            TLS__KEY="absent.key",
            BUS__URL="unix:///nowhere/at/all.sock",
            XMPP__LISTEN="192.0.2.1:5222",
        ),
    )
    assert result.exit_code == Exit.CONFIG
    assert "tls.certificate, tls.key: absent.pem: No such file or directory" in result.output
    assert "bus.url: no bus at /nowhere/at/all.sock" in result.output
    assert "xmpp.listen: 192.0.2.1 is not an address of this machine" in result.output


def test_check_tells_what_to_install_whole(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("presence.edge.accounts.ldap.find_spec", lambda _: None)
    result = shell.run("check", **free(ACCOUNTS__BACKEND="ldap"))
    assert "pip install tandem-gateway[ldap]" in result.output


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_check_tells_that_the_state_is_another_users(shell: Shell) -> None:
    (shell.directory / "state").mkdir(mode=0)
    result = shell.run("check", **free())
    assert result.exit_code == Exit.CONFIG
    assert "state is another user's; call this as the user who runs Tandem" in result.output


def test_check_hints_at_a_certificate_for_another_domain(shell: Shell) -> None:
    pair = shell.directory / "c.pem", shell.directory / "c.key"
    certs.ensure_self_signed(*pair, ["other.example"])
    result = shell.run(
        "check", **free(DOMAINS="chat.invalid", TLS__CERTIFICATE=str(pair[0]), TLS__KEY=str(pair[1]))
    )
    assert result.exit_code == 0
    assert "it does not cover chat.invalid, only localhost, other.example" in result.output
    assert "chat.invalid has no address in DNS" in result.output


@pytest.mark.skipif(os.geteuid() != 0, reason="only root writes into others' directories")
def test_root_makes_no_database_that_the_gateway_could_not_write_to(shell: Shell) -> None:
    (shell.directory / "state").mkdir()
    os.chown(shell.directory / "state", 65534, -1)
    result = shell.run("user", "add", "alice@localhost", stdin="secret\n")
    assert result.exit_code == Exit.FAILED
    assert "state is another user's (id 65534); call this as that user" in result.output
    assert not list((shell.directory / "state").iterdir())


def test_a_new_database_is_told_once(shell: Shell) -> None:
    assert "A new database is made in " in shell.run("user", "list").output
    assert "new database" not in shell.run("user", "list").output


# --- accounts ----------------------------------------------------------------------------------------


def test_an_account_is_made_listed_changed_and_deleted(shell: Shell) -> None:
    assert shell.run("user", "add", "Alice@LOCALHOST", stdin="secret\n").exit_code == 0
    assert shell.run("user", "list", "--plain").output == "alice@localhost\n"
    assert shell.run("user", "passwd", "alice@localhost", stdin="other\n").exit_code == 0
    assert shell.run("user", "delete", "alice@localhost", "--yes").exit_code == 0
    assert shell.run("user", "list", "--plain").output == ""


def test_an_account_is_not_made_twice(shell: Shell) -> None:
    shell.run("user", "add", "alice@localhost", stdin="secret\n")
    result = shell.run("user", "add", "alice@localhost", stdin="secret\n")
    assert result.exit_code == Exit.FAILED
    assert "there already is an account alice@localhost" in result.output


@pytest.mark.parametrize("name", ["presence", "buddies", "Presence"])
def test_addresses_of_the_server_itself_are_nobodys(shell: Shell, name: str) -> None:
    result = shell.run("user", "add", f"{name}@localhost", stdin="secret\n")
    assert result.exit_code == Exit.FAILED
    assert f"{name.lower()}@localhost is an address of the server's own" in result.output
    assert shell.run("user", "list", "--plain").output == ""
    other = {"SIP__ASSISTANT": "helper", "SIP__BUDDY_LIST": ""}
    assert shell.run("user", "add", f"{name}@localhost", stdin="secret\n", **other).exit_code == 0
    # one that was there before can be seen and deleted
    assert shell.run("user", "list", "--plain").output == f"{name.lower()}@localhost\n"
    assert shell.run("user", "delete", f"{name}@localhost", "--yes").exit_code == 0
    assert shell.run("user", "add", f"{name}@localhost", stdin="x\n", PROCESSES__SIP="0").exit_code == 0


@pytest.mark.parametrize("command", [("user", "passwd"), ("user", "delete", "--yes")])
def test_an_unknown_account_is_told(shell: Shell, command: tuple[str, ...]) -> None:
    result = shell.run(*command, "bob@localhost", stdin="secret\n")
    assert result.exit_code == Exit.FAILED
    assert "there is no account bob@localhost" in result.output


@pytest.mark.parametrize(
    ("address", "code", "text"),
    [
        ("alice@elsewhere.example", Exit.FAILED, "elsewhere.example is not served here"),
        ("localhost", Exit.USAGE, "an account is written USER@DOMAIN"),
        ("a b@localhost", Exit.USAGE, "not an address"),
    ],
)
def test_what_cannot_be_an_account_is_refused(shell: Shell, address: str, code: Exit, text: str) -> None:
    result = shell.run("user", "add", address, stdin="secret\n")
    assert result.exit_code == code
    assert text in result.output


def test_an_empty_password_is_refused(shell: Shell) -> None:
    assert shell.run("user", "add", "alice@localhost", stdin="\n").exit_code == Exit.USAGE


def test_deleting_asks_first(shell: Shell) -> None:
    shell.run("user", "add", "alice@localhost", stdin="secret\n")
    assert shell.run("user", "delete", "alice@localhost", stdin="n\n").exit_code == 1
    assert shell.run("user", "list", "--plain").output == "alice@localhost\n"


def test_effective_configuration_shows_the_environment(shell: Shell) -> None:
    printed = shell.run("config", "--effective", DOMAINS="a.example,b.example").output
    assert tomllib.loads(printed)["domains"] == ["a.example", "b.example"]


# --- accounts of a file, and who is kept out -----------------------------------------------------------


def test_accounts_of_a_users_txt_are_imported_and_exported(shell: Shell) -> None:
    ha1 = "0123456789abcdef0123456789abcdef"
    file = shell.directory / "users.txt"
    file.write_text(f"alice:{ha1}:localhost:authorized\nbroken\nbob:{ha1}:elsewhere:authorized\n")
    imported = shell.run("user", "import", str(file))
    assert imported.exit_code == 0
    assert "1 accounts added, 0 replaced, 0 kept as they were, 1 lines skipped" in imported.output
    assert "line 2: login:password:realm:state is wanted; skipped" in imported.output
    assert "1 accounts of domains not served here" in imported.output
    exported = shell.run("user", "export")
    assert exported.stdout == f"alice:{ha1}:localhost:authorized\n"
    assert shell.run("user", "export", "--format", "coturn").stdout == f"user=alice:0x{ha1}\n"


def test_a_file_that_is_not_there_cannot_be_imported(shell: Shell) -> None:
    result = shell.run("user", "import", "nowhere.txt")
    assert result.exit_code == Exit.USAGE
    assert "nowhere.txt: No such file" in result.output


def test_a_disabled_account_is_listed_as_such(shell: Shell) -> None:
    shell.run("user", "add", "alice@localhost", stdin="secret\n")
    assert shell.run("user", "disable", "alice@localhost").exit_code == 0
    assert "disabled" in shell.run("user", "list").output
    assert shell.run("user", "enable", "alice@localhost").exit_code == 0
    assert "disabled" not in shell.run("user", "list").output
    missing = shell.run("user", "disable", "nobody@localhost")
    assert (missing.exit_code, "there is no account" in missing.output) == (1, True)


def test_accounts_kept_in_a_file_are_changed_there(shell: Shell) -> None:
    file = shell.directory / "users.txt"
    file.write_text("alice:wonderland:localhost:authorized\n")
    settings = {"ACCOUNTS__BACKEND": "users_txt", "ACCOUNTS__USERS_TXT__FILE": str(file)}
    assert shell.run("user", "list", "--plain", **settings).stdout == "alice@localhost\n"
    for arguments in (("add", "bob@localhost"), ("passwd", "alice@localhost")):
        refused = shell.run("user", *arguments, stdin="secret\n", **settings)
        assert (refused.exit_code, "in users.txt, not here" in refused.output) == (1, True)
    assert shell.run("user", "disable", "alice@localhost", **settings).exit_code == 0
    assert "disabled" in shell.run("user", "list", **settings).output


def test_bans_need_a_running_gateway(shell: Shell) -> None:
    result = shell.run("bans", "list")
    assert result.exit_code == Exit.NOT_RUNNING


def test_check_names_what_an_account_backend_lacks(shell: Shell) -> None:
    for backend, problem in (
        ("users_txt", "accounts.users_txt.file: the backend users_txt needs it"),
        ("radius", "accounts.radius.servers"),
        ("ldap", "accounts.ldap.dn: it must have {local}"),
        ("http", "accounts.http.url"),
        ("elsewhere", "accounts.backend: there is no 'elsewhere', only"),
    ):
        result = shell.run("check", ACCOUNTS__BACKEND=backend)
        assert (result.exit_code, problem in result.output) == (Exit.CONFIG, True), result.output


def test_check_tells_that_phones_need_a_digest(shell: Shell) -> None:
    settings = {"ACCOUNTS__BACKEND": "http", "ACCOUNTS__HTTP__URL": "https://accounts.example/check"}
    assert "SIP phones cannot log in" in shell.run("check", **settings).output


def test_check_names_the_broken_lines_of_a_users_txt(shell: Shell) -> None:
    file = shell.directory / "users.txt"
    file.write_text("alice:secret:localhost:authorized\nbob\n")
    settings = {"ACCOUNTS__BACKEND": "users_txt", "ACCOUNTS__USERS_TXT__FILE": str(file)}
    assert "line 2: login:password:realm:state is wanted" in shell.run("check", **settings).output


def test_check_tells_the_records_with_which_phones_find_the_relays(shell: Shell) -> None:
    relays = "stun:192.0.2.1,turn:relay.invalid?transport=udp,turns:relay.invalid"
    result = shell.run("check", **free(DOMAINS="chat.invalid", XMPP__RELAYS=relays))
    assert result.exit_code == 0, result.output
    for told in (
        "xmpp.relays: relay.invalid has no address",
        "DNS needs _turn._udp.chat.invalid. IN SRV 0 0 3478 relay.invalid.",
        "DNS needs _turns._tcp.chat.invalid. IN SRV 0 0 5349 relay.invalid.",
    ):
        assert result.output.count(told) == 1, result.output
    assert "192.0.2.1." not in result.output


def test_check_tells_the_record_with_which_phones_find_their_buddy_lists(shell: Shell) -> None:
    root = "https://xcap.invalid/xcap-root"
    result = shell.run("check", **free(DOMAINS="chat.invalid", SIP__XCAP_ROOT=root))
    assert result.exit_code == 0, result.output
    assert "sip.xcap_root: xcap.invalid has no address" in result.output
    assert f'DNS needs xcap.chat.invalid TXT "{root}"' in result.output


def test_check_tells_what_push_lacks_and_makes_no_key(shell: Shell) -> None:
    wrong = {"SIP__PUSH__VAPID_KEY": "nowhere.pem", "SIP__PUSH__GATEWAY_TOKEN_FILE": "nowhere.txt"}
    result = shell.run("check", **free(SIP__PUSH__WEBPUSH="true", **wrong))
    assert result.exit_code == Exit.CONFIG
    for name in ("vapid_key", "gateway_token_file"):
        assert f"sip.push.{name}: " in result.output
    result = shell.run("check", **free(SIP__PUSH__WEBPUSH="true"))
    assert result.exit_code == 0, result.output
    assert not list(shell.directory.rglob("vapid.pem"))


def test_the_demo_is_refused_where_accounts_cannot_be_made(shell: Shell) -> None:
    file = shell.directory / "users.txt"
    file.write_text("alice:secret:localhost:authorized\n")
    settings = {"ACCOUNTS__BACKEND": "users_txt", "ACCOUNTS__USERS_TXT__FILE": str(file)}
    result = shell.run("run", "--demo", **free(**settings))
    assert result.exit_code == Exit.CONFIG
    assert "demo: alice and bob cannot be made, users_txt only reads accounts" in result.output
    assert "--no-demo" in result.output
    checked = shell.run("check", **free(**settings, DEMO="true"))
    assert (checked.exit_code, "demo: alice and bob" in checked.output) == (Exit.CONFIG, True)
