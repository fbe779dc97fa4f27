from __future__ import annotations

import pytest

from sip.profiles import PROFILES, profile_of


@pytest.mark.parametrize(
    ("agent", "name"),
    [
        ("Linphone-Desktop/5.2 (belle-sip)", "linphone"),
        ("Purple/2.14.12", "libpurple"),
        ("Tandem/0.1", "tandem"),
        ("baresip v1.0.0", "baresip-1"),
        ("SomePhone/1", "default"),
        ("", "default"),
    ],
)
def test_the_first_row_that_fits_counts(agent: str, name: str) -> None:
    assert profile_of(agent).name == name


def test_rows_are_lower_case_and_named_once() -> None:
    assert all(agent == agent.lower() for row in PROFILES for agent in row.agents)
    assert len({row.name for row in PROFILES}) == len(PROFILES)
