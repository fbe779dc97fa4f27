"""A bounded run of every fuzz target, the same each time; `engine.py` says how to run them for longer."""

from __future__ import annotations

from tests.fuzz import framer, parser, transactions
from tests.fuzz.engine import run


def test_the_parser_survives_mutated_messages() -> None:
    run(parser.target, 3000)


def test_the_framer_survives_mutated_streams() -> None:
    run(framer.target, 150)


def test_transactions_survive_random_stories() -> None:
    run(transactions.target, 300)
