"""What is made, or found to be wrong, before a process starts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gateway.config import ConfigError, Settings
from gateway.wiring import prepare


def settings(state: Path, **push: Any) -> Settings:
    return Settings.model_validate({"state_dir": state, "sip": {"push": push}})


def test_the_key_for_web_push_is_made_where_it_is_wanted(tmp_path: Path) -> None:
    prepare(settings(tmp_path))
    assert not (tmp_path / "push").exists()
    prepare(settings(tmp_path, webpush=True))
    assert (tmp_path / "push" / "vapid.pem").exists()


@pytest.mark.parametrize("name", ["vapid_key", "gateway_token_file", "authorities"])
def test_a_file_for_push_that_is_not_there_is_named_with_its_setting(tmp_path: Path, name: str) -> None:
    wrong = settings(tmp_path, webpush=True, **{name: str(tmp_path / "nowhere")})
    with pytest.raises(ConfigError, match=rf"sip\.push\.{name}: .*"):
        prepare(wrong)


@pytest.mark.parametrize("token", [b"two\nlines", b"\xff"])
def test_a_token_no_gateway_can_be_shown_is_told_with_its_setting(tmp_path: Path, token: bytes) -> None:
    file = tmp_path / "token"
    file.write_bytes(token)
    with pytest.raises(ConfigError, match=r"sip\.push\.gateway_token_file: "):
        prepare(settings(tmp_path, gateway_token_file=str(file)))
    file.write_bytes(b"one line\n")
    prepare(settings(tmp_path, gateway_token_file=str(file)))
