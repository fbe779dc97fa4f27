"""sip/assistant.py: who has only a phone is asked, and answers, by message."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from presence.address import Address
from presence.subscriptions import Act
from sip.assistant import Answer, Question, meant, parse_answer
from tests.sip.house import ALICE, BOB, CAROL, House, open_house
from tests.support.sipwire import address

ASSISTANT = "presence@example.org"


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("yes", Answer(Act.SUBSCRIBED)),
        (" Yes! ", Answer(Act.SUBSCRIBED)),
        ("1", Answer(Act.SUBSCRIBED)),
        ("Ja", Answer(Act.SUBSCRIBED)),
        ("no", Answer(Act.UNSUBSCRIBED)),
        ("2.", Answer(Act.UNSUBSCRIBED)),
        ("no sip:bob@example.org", Answer(Act.UNSUBSCRIBED, "bob@example.org")),
        ("yes and no", None),
        ("maybe", None),
        ("", None),
    ],
)
def test_what_counts_as_an_answer(text: str, answer: Answer | None) -> None:
    assert parse_answer(text) == answer


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with open_house(tmp_path, policy="ask") as opened:
        yield opened


async def asks(house: House, watcher: Address) -> None:
    await house.other.request(watcher, BOB)


async def sees(house: House, watcher: Address) -> str:
    return (await house.other.decide(watcher, BOB)).standing.value


async def test_yes_on_the_phone_lets_the_watcher_see(house: House) -> None:
    await house.desk(ALICE)
    async with house.phone(BOB) as phone:
        await phone.register()
        await asks(house, ALICE)
        request = await phone.hears("alice@example.org wants to see when you are available. Reply yes or no.")
        assert address(request["From"]) == f"sip:{ASSISTANT}"
        assert await sees(house, ALICE) == "pending"
        assert (await phone.message(ASSISTANT, "yes")).status == 200
        await phone.hears("alice@example.org can see you now.")
        assert await sees(house, ALICE) == "active"


async def test_no_denies(house: House) -> None:
    async with house.phone(BOB) as phone:
        await phone.register()
        await asks(house, ALICE)
        await phone.received("MESSAGE")
        await phone.message(ASSISTANT, "no")
        await phone.hears("alice@example.org cannot see you.")
        assert not (await house.store.item(BOB, ALICE)).pending_in


async def test_who_was_away_is_asked_when_the_phone_registers(house: House) -> None:
    await asks(house, ALICE)
    async with house.phone(BOB) as phone:
        await phone.register()
        await phone.hears("alice@example.org wants to see when you are available. Reply yes or no.")


async def test_one_request_is_asked_at_a_time(house: House) -> None:
    async with house.phone(BOB) as phone:
        await phone.register()
        await asks(house, CAROL)
        await phone.hears("carol@example.org wants to see when you are available. Reply yes or no.")
        await asks(house, ALICE)
        await phone.message(ASSISTANT, "yes")
        await phone.hears("carol@example.org can see you now.")
        await phone.hears("alice@example.org wants to see when you are available. Reply yes or no.")
        assert (await sees(house, CAROL), await sees(house, ALICE)) == ("active", "pending")


@pytest.mark.parametrize(
    ("text", "asked", "about"),
    [
        ("yes", CAROL, CAROL),
        ("yes", None, None),
        ("yes", BOB, None),
        ("yes alice@example.org", CAROL, ALICE),
        ("yes bob@example.org", CAROL, None),
        ("yes @", CAROL, None),
        ("well", CAROL, None),
    ],
)
def test_an_answer_counts_only_for_a_request_it_certainly_means(
    text: str, asked: Address | None, about: Address | None
) -> None:
    assert meant(parse_answer(text), asked, [ALICE, CAROL]) == about


async def test_yes_is_no_answer_to_a_question_that_came_in_place_of_another(house: House) -> None:
    async with house.phone(BOB) as phone:
        await phone.register()
        await asks(house, CAROL)
        await phone.hears("carol@example.org wants to see when you are available. Reply yes or no.")
        await house.other.act(CAROL, BOB, Act.UNSUBSCRIBE)
        await asks(house, ALICE)
        await phone.hears(
            "alice@example.org wants to see when you are available."
            " Reply yes alice@example.org or no alice@example.org."
        )
        await phone.message(ASSISTANT, "yes")  # to carol, whom he read about
        await phone.hears(
            "Waiting for your answer: alice@example.org. Reply yes alice@example.org or no alice@example.org."
        )
        assert await sees(house, ALICE) == "pending"
        await phone.message(ASSISTANT, "yes alice@example.org")
        await phone.hears("alice@example.org can see you now.")


async def test_yes_twice_does_not_answer_the_next_one(house: House) -> None:
    async with house.phone(BOB) as phone:
        await phone.register()
        await asks(house, CAROL)
        await phone.hears("carol@example.org wants to see when you are available. Reply yes or no.")
        await asks(house, ALICE)
        await phone.message(ASSISTANT, "yes")
        await phone.hears("alice@example.org wants to see when you are available. Reply yes or no.")
        await phone.message(ASSISTANT, "yes")
        await phone.hears(
            "Waiting for your answer: alice@example.org. Reply yes alice@example.org or no alice@example.org."
        )
        assert await sees(house, ALICE) == "pending"
        # he has been told whom it is about
        await phone.message(ASSISTANT, "no")
        await phone.hears("alice@example.org cannot see you.")


async def test_yes_answers_nothing_the_phone_did_not_take(house: House) -> None:
    async with house.phone(BOB) as phone:
        await phone.register()
        phone.answers["MESSAGE"] = (480, "Temporarily Unavailable")
        await asks(house, ALICE)
        await phone.received("MESSAGE")
        phone.answers.pop("MESSAGE")
        await phone.message(ASSISTANT, "yes")
        await phone.hears(
            "Waiting for your answer: alice@example.org. Reply yes alice@example.org or no alice@example.org."
        )
        assert await sees(house, ALICE) == "pending"


@pytest.mark.parametrize(
    ("question", "now", "about"),
    [
        (Question(ALICE), 100.0, None),
        (Question(ALICE, shown=100.0), 100.0, ALICE),
        (Question(ALICE, follows=True, shown=100.0), 102.9, None),
        (Question(ALICE, follows=True, shown=100.0), 103.0, ALICE),
        (Question(ALICE, bare=False, shown=100.0), 999.0, None),
    ],
)
def test_whom_a_bare_answer_is_about(question: Question, now: float, about: Address | None) -> None:
    assert question.means(now) == about


async def test_an_answer_may_name_whom_it_means(house: House) -> None:
    await asks(house, CAROL)
    await asks(house, ALICE)
    async with house.phone(BOB) as phone:
        await phone.message(ASSISTANT, "yes carol@example.org")
        assert (await sees(house, CAROL), await sees(house, ALICE)) == ("active", "pending")


async def test_a_phone_that_replies_by_itself_is_left_alone(house: House) -> None:
    async with house.phone(BOB) as phone:
        await phone.register()
        for _ in range(2):
            await phone.message(ASSISTANT, "I am driving")
            await phone.hears("Nobody is waiting for your answer. Send help for what there is.")
        await phone.message(ASSISTANT, "I am driving")
        await house.say(ALICE, BOB, "next")
        await phone.hears("next")


async def test_who_has_an_xmpp_client_is_asked_there(house: House) -> None:
    async with house.phone(ALICE) as phone:
        await phone.register()
        await house.other.request(BOB, ALICE)
        await house.say(BOB, ALICE, "next")
        await phone.hears("next")
