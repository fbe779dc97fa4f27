"""Fixtures of the tests that drive a real gateway: one for each process that tests, and the stage to play on.

Imports are inside the fixtures, so that the unit tests of one package need nothing of the others.
"""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator, Generator
from typing import TYPE_CHECKING

import pytest
import structlog
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from tests.support.postgres import Postgres
    from tests.support.stage import Stage

# How long an example takes says how busy the machine is.
settings.register_profile("tandem", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tandem")

FAST = {"SIP__MIN_EXPIRES": "2", "SIP__NOTIFY_INTERVAL": "0"}
"Settings that let a journey take seconds where people would wait."


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Of `-n auto`. Tests that drive programs mostly wait for them: two for each processor keep it busy."""
    return min(2 * len(os.sched_getaffinity(0)), 8)


@pytest.fixture(autouse=True)
def _logs_as_before() -> Generator[None]:
    """What a test sets up to read logs ends with it: its stream is closed by then."""
    yield
    if structlog.is_configured():
        structlog.reset_defaults()
        logging.getLogger().handlers.clear()


@pytest.fixture(scope="session")
async def shared_stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    """The gateway all journeys share that do not hurt it."""
    from tests.support.stage import open_stage
    from tests.support.tandem import Tandem

    async with open_stage(Tandem(tmp_path_factory.mktemp("tandem"), **FAST), "127.0.0.1") as stage:
        yield stage


@pytest.fixture(scope="session")
async def postgres() -> AsyncIterator[Postgres]:
    """A PostgreSQL of the tests' own, started by the first that asks it for a database."""
    from tests.support.postgres import Postgres

    server = Postgres()
    yield server
    await server.stop()


@pytest.fixture
def host() -> str:
    """The loopback address phones and clients connect to."""
    return "127.0.0.1"


@pytest.fixture
def stage(shared_stage: Stage, host: str) -> Stage:
    """The shared gateway, reached over the address family under test."""
    return shared_stage.over(host)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Attach the gateway's last log lines to a failed journey."""
    report = yield
    stage = getattr(item, "funcargs", {}).get("stage")
    if report.failed and stage is not None and hasattr(stage, "tandem"):
        report.sections.append(("tandem's log", stage.tandem.logged()))
    return report
