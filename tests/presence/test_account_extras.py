"""Tandem runs without the extras: what an account backend needs beyond the dependencies is imported late."""

from __future__ import annotations

import subprocess
import sys

LOOKS = """
import sys
for extra in ("pyrad", "ldap3", "asyncpg"):
    sys.modules[extra] = None  # importing it raises ImportError
from presence.edge.accounts import backends
print(*sorted(backends()))
"""


def test_all_backends_are_known_where_no_extra_is_installed() -> None:
    done = subprocess.run([sys.executable, "-c", LOOKS], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert {"sql", "radius"} <= set(done.stdout.split())
