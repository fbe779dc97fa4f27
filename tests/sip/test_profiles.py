from __future__ import annotations

import pytest

from sip.profiles import PROFILES, differences, profile_of
from sip.settings import PhoneProfile, SipSettings


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


def test_an_operators_row_changes_what_it_names_and_leaves_the_rest() -> None:
    rows = (PhoneProfile(agents=("Purple/3",), digests=("MD5",)),)
    changed = profile_of("purple/3.0", rows)
    assert (changed.digests, changed.answers_with_to_tag) == (("MD5",), False)
    assert profile_of("purple/2.1", rows).digests == ()


def test_of_an_operators_rows_the_last_one_wins() -> None:
    rows = (
        PhoneProfile(agents=("Yealink",), plain_text_only=True, gruu_in_from=True),
        PhoneProfile(agents=("Yealink SIP-T4",), plain_text_only=False),
    )
    changed = profile_of("Yealink SIP-T46S 66.86", rows)
    assert (changed.plain_text_only, changed.gruu_in_from) == (False, True)


def test_rows_are_settings_and_a_wrong_one_is_refused() -> None:
    settings = SipSettings.model_validate({"profiles": [{"agents": ["Snom"], "digests": ["MD5"]}]})
    assert profile_of("snomD785/10", settings.profiles).digests == ("MD5",)
    with pytest.raises(ValueError, match="digests"):
        SipSettings.model_validate({"profiles": [{"agents": ["Snom"], "digests": ["ROT13"]}]})


def test_every_row_says_where_it_was_seen_and_the_table_what_it_changes() -> None:
    assert all(row.seen for row in PROFILES)
    assert differences(profile_of("tandem/1")) == "unique_call_ids = false, gruu_in_from = true"
