"""xmpp.progress: acknowledged is only what is done with everything before it."""

from __future__ import annotations

from xmpp.progress import Progress


def test_a_stanza_that_is_done_early_counts_when_those_before_it_are() -> None:
    progress = Progress()
    one, two, three = progress.begin(), progress.begin(), progress.begin()
    progress.done(three)
    progress.done(two)
    assert progress.handled == 0
    progress.done(one)
    assert progress.handled == 3
