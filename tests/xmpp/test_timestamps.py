"""DateTimes at the edges of what can be written (XEP-0082)."""

from __future__ import annotations

import pytest

from xmpp.timestamps import parse_stamp, stamp


@pytest.mark.parametrize("text", ["9999-12-31T23:59:59-23:59", "9999-12-31T23:59:59.999999Z"])
def test_a_time_behind_the_last_year_is_none(text: str) -> None:
    assert parse_stamp(text) is None


@pytest.mark.parametrize("at", [253_402_300_800.0, 1e15])
def test_a_time_nobody_can_write_becomes_the_last_one(at: float) -> None:
    assert stamp(at) == "9999-12-31T23:59:59.000Z"


def test_a_time_is_read_as_it_was_written() -> None:
    assert parse_stamp(stamp(1_800_000_000.25)) == 1_800_000_000.25


@pytest.mark.parametrize(
    ("at", "text"),
    [
        (1_800_000_000, "2027-01-15T08:00:00.000Z"),
        (1_800_000_000.9996, "2027-01-15T08:00:00.999Z"),
        (1_800_000_000.9999999, "2027-01-15T08:00:01.000Z"),
        (-0.25, "1969-12-31T23:59:59.750Z"),
    ],
)
def test_a_time_is_written_with_milliseconds(at: float, text: str) -> None:
    assert stamp(at) == text
