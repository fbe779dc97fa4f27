"""`gateway.config` and `gateway.reference`: every default works, every mistake is named, the example is
true."""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel

from gateway import config, reference
from gateway.config import ConfigError, Settings
from presence.notes import field_notes


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No configuration of the machine the tests run on."""
    import os

    for name in [name for name in os.environ if name.startswith("TANDEM_")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(config, "SYSTEM_FILE", tmp_path / "etc" / "tandem.toml")
    monkeypatch.chdir(tmp_path)


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def sections(model: type[BaseModel], path: str = "") -> Iterator[tuple[str, type[BaseModel]]]:
    yield path or "the root", model
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from sections(field.annotation, f"{path}{name}.")


def problems() -> list[str]:
    with pytest.raises(ConfigError) as caught:
        config.load()
    return caught.value.problems


def test_every_default_works() -> None:
    assert config.load() == Settings()


def test_every_setting_is_documented_where_it_is_declared() -> None:
    undocumented = [
        f"{path}{name}"
        for path, model in sections(Settings)
        for name, field in model.model_fields.items()
        if not (isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel))
        and not field_notes(model).get(name)
    ]
    assert undocumented == []


def test_every_section_is_documented_and_refuses_unknown_keys() -> None:
    for path, model in sections(Settings):
        assert model.__doc__, path
        assert model.model_config.get("extra") == "forbid", path


def test_the_printed_example_loads_and_changes_nothing(tmp_path: Path) -> None:
    write(tmp_path / "tandem.toml", reference.example())
    assert config.load() == Settings()


def test_the_printed_example_states_the_true_defaults(tmp_path: Path) -> None:
    lines = reference.example().splitlines()
    uncommented = [line[1:] if line.startswith("#") and not line.startswith("# ") else line for line in lines]
    write(tmp_path / "tandem.toml", "\n".join(uncommented))
    assert config.load().model_dump() == Settings().model_dump()


def test_environment_wins_over_file_and_file_over_defaults(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "tandem.toml", 'domains = ["a.example"]\n[admin]\nport = 1\nhost = "::1"\n')
    monkeypatch.setenv("TANDEM_ADMIN__PORT", "2")
    loaded = config.load()
    assert (loaded.domains, loaded.admin.port, loaded.admin.host) == (("a.example",), 2, "::1")


def test_lists_in_the_environment_are_comma_separated_or_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TANDEM_DOMAINS", "A.example, b.example")
    monkeypatch.setenv("TANDEM_XMPP__LISTEN", '["127.0.0.1:1", "[::1]:1"]')
    loaded = config.load()
    assert loaded.domains == ("a.example", "b.example")
    assert loaded.xmpp.listen == ("127.0.0.1:1", "[::1]:1")


def test_all_mistakes_are_told_at_once_with_name_and_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "tandem.toml", 'colour = "red"\n[admin]\nport = 99999\n[xmpp]\nlistn = []\n')
    monkeypatch.setenv("TANDEM_LOG__LEVEL", "loud")
    monkeypatch.setenv("TANDEM_SPI__X", "1")
    found = problems()
    assert len(found) == 5
    for name, place in [
        ("colour", "tandem.toml"),
        ("admin.port", "tandem.toml"),
        ("xmpp.listn", "tandem.toml"),
        ("log.level", "environment TANDEM_LOG__LEVEL"),
        ("spi", "environment TANDEM_SPI"),
    ]:
        assert any(line.startswith(f"{name}: ") and place in line for line in found), (name, found)


def test_a_misspelt_setting_is_told_with_the_one_that_was_meant(tmp_path: Path) -> None:
    write(tmp_path / "tandem.toml", 'tls = "a.pem"\n[sip]\nlisten_upd = []\nlisten_tcp = "0.0.0.0:5060"\n')
    assert problems() == [
        "tls: a table is wanted: [tls], or {…} (tandem.toml)",
        'sip.listen_tcp: a list is wanted: ["0.0.0.0:5060"] (tandem.toml)',
        "sip.listen_upd: there is no such setting; sip.listen_udp perhaps (tandem.toml)",
    ]


def test_broken_toml_is_told_with_file_and_line(tmp_path: Path) -> None:
    write(tmp_path / "tandem.toml", "domains = nobody\n")
    (found,) = problems()
    assert found.startswith("tandem.toml: ")
    assert "line" in found


def test_a_file_that_was_asked_for_must_exist(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent\.toml: No such file"):
        config.load(tmp_path / "absent.toml")


def test_file_is_looked_for_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    system = write(tmp_path / "etc" / "tandem.toml", "")
    assert config.find_file() == system
    write(tmp_path / "tandem.toml", "")
    assert config.find_file() == Path("tandem.toml")
    named = write(tmp_path / "named.toml", "")
    monkeypatch.setenv("TANDEM_CONFIG", str(named))
    assert config.find_file() == named
    assert config.find_file(Path("other.toml")) == Path("other.toml")


def test_state_is_under_var_lib_when_the_system_file_is_used(tmp_path: Path) -> None:
    write(tmp_path / "etc" / "tandem.toml", "")
    assert config.load().state_dir == Path("/var/lib/tandem")
    write(tmp_path / "tandem.toml", "")
    assert config.load().state_dir == Path(".tandem")


def test_a_certificate_needs_its_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TANDEM_TLS__CERTIFICATE", "/x.pem")
    assert problems() == ["tls.certificate and tls.key: set both or neither"]


def test_effective_configuration_is_toml_and_shows_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TANDEM_ADMIN__METRICS_TOKEN", "Opensesame")
    monkeypatch.setenv("TANDEM_BUS__URL", "redis://user:Opensesame@bus.example:6379/0")
    monkeypatch.setenv("TANDEM_STORE__URL", "postgresql+asyncpg://tandem:p:w@Opensesame@db.example/tandem")
    text = reference.effective(config.load())
    assert "Opensesame" not in text
    found = tomllib.loads(text)
    assert found["admin"]["metrics_token"] == "***"
    assert found["bus"]["url"] == "redis://user:***@bus.example:6379/0"
    assert found["store"]["url"] == "postgresql+asyncpg://tandem:***@db.example/tandem"


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("DOMAINS", "bad domain", "domains: not a domain"),
        ("SIP__LISTEN_UDP", "localhost", "sip.listen_udp: 'localhost' is no HOST:PORT"),
        ("SIP__LISTEN_TLS", "1.2.3.4:99999", "sip.listen_tls: '1.2.3.4:99999' is no HOST:PORT"),
        ("XMPP__LISTEN", "localhost", "xmpp.listen: 'localhost' is no HOST:PORT"),
        ("XMPP__MECHANISMS", "SCRAM-SHA-7", "xmpp.mechanisms: SCRAM-SHA-7: not one of "),
        ("XMPP__MECHANISMS", "[]", "xmpp.mechanisms: Tuple should have at least 1 item"),
        ("SIP__FILE_TRANSFER", "files", "sip.file_transfer: a path is wanted"),
        ("SIP__FILE_TRANSFER", "https://a.example/files", "sip.file_transfer: a path is wanted"),
        ("SIP__XCAP_ROOT", "xcap", "sip.xcap_root: a path is wanted"),
        ("SIP__PUSH__GATEWAYS", '{"fcm":"https://a.example:99999/"}', "sip.push.gateways: Port"),
        ("SIP__MIN_EXPIRES", "3000", "sip.min_expires: greater than sip.max_expires"),
    ],
)
def test_a_value_nothing_could_be_served_with_is_told_by_its_name(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, told: str
) -> None:
    monkeypatch.setenv("TANDEM_SIP__MAX_EXPIRES", "2000")
    monkeypatch.setenv(f"TANDEM_{name}", value)
    (problem,) = problems()
    assert problem.startswith(told)


def test_a_domain_is_the_one_of_its_addresses_in_whatever_spelling(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TANDEM_DOMAINS", "xn--bcher-kva.example,BÜCHER.example., b.example")
    assert config.load().domains == ("bücher.example", "b.example")


def test_a_driver_that_is_not_installed_is_told_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "asyncpg", None)
    monkeypatch.setenv("TANDEM_STORE__URL", "postgresql+asyncpg://tandem@db/tandem")
    (problem,) = problems()
    assert problem.startswith("store.url: the driver asyncpg is not installed; pip install")


def test_a_component_has_a_domain_of_its_own_and_its_secret_is_not_shown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TANDEM_XMPP__COMPONENTS", '[{"domain": "Bots.localhost", "secret": "polly"}]')
    settings = config.load()
    assert [each.domain for each in settings.xmpp.components] == ["bots.localhost"]
    assert "polly" not in reference.effective(settings)
    monkeypatch.setenv("TANDEM_XMPP__COMPONENTS", '[{"domain": "localhost", "secret": "polly"}]')
    assert problems() == ["xmpp.components: localhost is served already"]
