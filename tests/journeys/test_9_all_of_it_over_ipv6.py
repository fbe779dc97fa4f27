"""Journey 9: journeys 1 to 5, played again over IPv6."""

from __future__ import annotations

import pytest

from tests.journeys.test_1_a_phone_comes_and_goes import (
    test_a_phone_whose_connection_breaks_goes_offline,
    test_she_sees_his_phone_register_publish_and_unregister,
)
from tests.journeys.test_2_a_phone_asks_to_see_her import test_pending_then_accepted_then_followed
from tests.journeys.test_3_she_denies_or_cancels import (
    test_a_cancelled_authorisation_ends_the_dialog_and_nothing_follows,
    test_a_denied_request_ends_the_dialog_and_shows_nothing,
)
from tests.journeys.test_4_chat_both_ways import (
    test_a_long_text_over_a_stream_arrives_whole_in_both_directions,
    test_every_text_arrives_as_it_was_written_in_both_directions,
)
from tests.journeys.test_5_everywhere_at_once import (
    test_a_message_from_a_phone_or_a_client_reaches_all_three_once,
    test_she_is_online_until_the_last_one_leaves,
)

__all__ = [
    "test_a_cancelled_authorisation_ends_the_dialog_and_nothing_follows",
    "test_a_denied_request_ends_the_dialog_and_shows_nothing",
    "test_a_long_text_over_a_stream_arrives_whole_in_both_directions",
    "test_a_message_from_a_phone_or_a_client_reaches_all_three_once",
    "test_a_phone_whose_connection_breaks_goes_offline",
    "test_every_text_arrives_as_it_was_written_in_both_directions",
    "test_pending_then_accepted_then_followed",
    "test_she_is_online_until_the_last_one_leaves",
    "test_she_sees_his_phone_register_publish_and_unregister",
]

pytestmark = pytest.mark.journey


@pytest.fixture
def host() -> str:
    return "::1"
