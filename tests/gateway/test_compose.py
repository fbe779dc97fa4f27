"""`compose.yaml` against the Compose Specification's own schema."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def compose() -> Any:
    return yaml.safe_load((ROOT / "compose.yaml").read_text())


def test_compose_file_obeys_the_compose_specification(compose: Any) -> None:
    vendored = files("check_jsonschema") / "builtin_schemas" / "vendor" / "compose-spec.json"
    schema = json.loads(vendored.read_text())
    assert schema["properties"]["services"], "not the Compose Specification"
    jsonschema.validate(compose, schema)


def test_each_role_has_a_service_and_postgres_is_optional(compose: Any) -> None:
    services = compose["services"]
    assert set(services) == {"valkey", "tandem-xmpp", "tandem-sip", "tandem-admin", "postgres"}
    for role in ("xmpp", "sip", "admin"):
        assert services[f"tandem-{role}"]["command"] == ["run", "--only", role]
    assert services["postgres"]["profiles"] == ["postgres"]


def test_what_has_no_authentication_is_published_on_loopback_only(compose: Any) -> None:
    published = [port for service in compose["services"].values() for port in service.get("ports", ())]
    assert published
    assert all(port.startswith("127.0.0.1:") for port in published)
