"""`gateway.alone`: nobody runs twice in one state directory, not even with other ports."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.alone import alone
from gateway.config import ConfigError
from gateway.exits import Exit

HOLDS = """
import pathlib, signal, sys
from gateway.alone import alone
with alone(pathlib.Path(sys.argv[1]), "xmpp-1", ""):
    print("held", flush=True)
    signal.pause()
"""


def test_a_name_is_held_once_and_let_go_of(tmp_path: Path) -> None:
    with alone(tmp_path, "xmpp-1", "stop it"), alone(tmp_path, "xmpp-2", ""):
        told = f"xmpp-1 of {tmp_path} runs already (process {os.getpid()}); stop it"
        with pytest.raises(ConfigError) as refused, alone(tmp_path, "xmpp-1", "stop it"):
            pass
        assert refused.value.problems == [f"state_dir: {told}"]
    with alone(tmp_path, "xmpp-1", ""):
        pass


def test_whoever_is_killed_holds_it_no_more(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDS, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(ConfigError, match=str(holder.pid)), alone(tmp_path, "xmpp-1", ""):
            pass
        holder.send_signal(signal.SIGKILL)
        with alone(tmp_path, "xmpp-1", "", patience=30):
            pass


@pytest.mark.parametrize(("only", "name"), [((), "supervisor"), (("--only", "xmpp"), "xmpp-1")])
def test_a_second_gateway_in_a_state_directory_says_so(
    tmp_path: Path, only: tuple[str, ...], name: str
) -> None:
    with alone(tmp_path, name, ""):
        second = subprocess.run(
            [sys.executable, "-m", "gateway", "run", *only],
            env={"PATH": os.environ["PATH"], "TANDEM_STATE_DIR": str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert second.returncode == Exit.CONFIG
    assert f"state_dir: {name} of {tmp_path} runs already (process {os.getpid()})" in second.stderr
    assert "TANDEM_STATE_DIR in the environment" in second.stderr
