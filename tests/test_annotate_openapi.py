"""Odd requests made from the OpenAPI description, by somebody who may do everything: none makes the server fail."""

from typing import Any

import pytest
import schemathesis
from annotate_desk import Desk, new_id
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.specs.openapi.checks import response_schema_conformance
from xai_bench_annotations.server.throttle import Throttle

API = "/api/v1"


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """A desk at which the admin reads too, so that no endpoint is closed to them."""
    desk = Desk.make(tmp_path_factory.mktemp("desk"), films=3)
    answer = desk.chief.post(f"{API}/projects/{desk.project}/readers", json={"readers": ["chief"]})
    assert answer.status_code == 200
    return desk


@pytest.fixture(scope="module")
def real(desk: Desk) -> dict[str, str]:
    """Ids of what exists and is the admin's."""
    reading = desk.worklist(desk.chief)[0]
    name = new_id()
    assert desk.save(desk.chief, name, 0, desk.body(reading)).status_code == 200
    ben = desk.ben.get(f"{API}/me").json()["id"]
    return {
        "project_id": desk.project, "image_id": reading["image"]["id"], "assignment_id": reading["id"],
        "annotation_id": name, "reader_id": ben, "project": desk.project,
    }  # fmt: skip


QUICK = settings(
    max_examples=4, derandomize=True, suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.generate],
)  # fmt: skip


def test_no_request_makes_the_server_fail(desk: Desk, real: dict[str, str]) -> None:
    schema = schemathesis.openapi.from_asgi(f"{API}/openapi.json", desk.app, headers={"Host": "localhost"})
    asked = []
    for found in schema.get_all_operations():
        operation = found.ok()
        if operation.label == f"DELETE {API}/session":  # after it everything would be 401
            continue

        @QUICK
        @given(case=operation.as_strategy())
        def ask(case: Any) -> None:
            _ask(case, desk)
            _make_real(case, real)
            _ask(case, desk)

        ask()
        asked.append(operation.label)
    assert len(asked) > 25


def _make_real(case: Any, real: dict[str, str]) -> None:
    """Ask of what exists."""
    for part in (case.path_parameters, case.query):
        if isinstance(part, dict):
            part.update({name: real[name] for name in part if name in real})
    if isinstance(case.body, dict) and "assignment" in case.body:
        case.body["assignment"] = real["assignment_id"]


def _ask(case: Any, desk: Desk) -> None:
    desk.app.state.throttle = Throttle()
    headers = {"Host": "localhost", "X-CSRF": desk.chief.headers["X-CSRF"], "If-Match": "1"}
    answer = case.call(headers=headers, cookies={"xai_session": desk.chief.cookies["xai_session"]})
    assert answer.status_code < 500, answer.text
    case.validate_response(answer, checks=[response_schema_conformance])
