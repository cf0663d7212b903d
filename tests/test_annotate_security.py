"""What every request passes: Host, Origin, CSRF, types and sizes of bodies, headers of every answer."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from annotate_desk import Desk, new_client, new_id
from starlette.testclient import TestClient
from xai_bench_annotations.server import security
from xai_bench_annotations.server.app import create_app
from xai_bench_annotations.server.security import HEADERS


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    return Desk.make(tmp_path_factory.mktemp("desk"), films=2)


def test_the_policy_lets_in_nothing_from_elsewhere() -> None:
    rules = dict(part.strip().split(" ", 1) for part in HEADERS["Content-Security-Policy"].split(";"))
    assert rules == {
        "default-src": "'none'", "script-src": "'self'", "style-src": "'self'", "img-src": "'self' blob:",
        "connect-src": "'self'", "font-src": "'self'", "frame-ancestors": "'none'", "base-uri": "'none'",
        "form-action": "'self'",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("path", "host", "status"),
    [("/api/v1/me", "localhost", 200), ("/api/v1/nothing", "localhost", 404), ("/api/v1/me", "evil.example", 400),
     ("/nothing", "localhost", 404), ("/page/no.js", "localhost", 404), ("/api/v1/openapi.json", "localhost", 200)],
)  # fmt: skip
def test_every_answer_has_the_headers(desk: Desk, path: str, host: str, status: int) -> None:
    answer = desk.anna.get(path, headers={"Host": host})
    assert answer.status_code == status
    assert (
        HEADERS.items()
        <= {k.title(): v for k, v in answer.headers.items()}.items() | {k: answer.headers[k] for k in HEADERS}.items()
    )
    assert answer.headers["Cache-Control"] == "no-store"
    assert "server" not in answer.headers and "access-control-allow-origin" not in answer.headers
    if status >= 400:
        assert set(answer.json()) == {"error"}


def test_a_failure_is_answered_with_headers_and_without_details(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xai_bench_annotations.server.api.session.xai_bench", None)  # a bug
    answer = desk.anna.get("/api/v1/me")
    assert answer.status_code == 500 and set(answer.json()) == {"error"} and "Attribute" not in answer.text
    assert answer.headers["Content-Security-Policy"] == HEADERS["Content-Security-Policy"]


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8737", "127.0.0.1", "127.0.0.1:1", "[::1]", "[::1]:8737"])
def test_this_machine_s_names_are_answered(desk: Desk, host: str) -> None:
    assert desk.anna.get("/api/v1/healthz", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "evil.example:80", "127.0.0.1.evil.example", "", "[::1",
             "localhost:x", "localhost/evil", "evil@localhost", "0.0.0.0", "10.0.0.1"],
)  # fmt: skip
def test_other_names_are_not_so_that_rebinding_fails(desk: Desk, host: str) -> None:
    assert desk.anna.get("/api/v1/healthz", headers={"Host": host}).status_code == 400


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Origin": "http://localhost"}, 200),
        ({"Origin": "https://localhost", "Sec-Fetch-Site": "same-origin"}, 200),
        ({"Origin": "http://localhost:81"}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"X-CSRF": ""}, 403),
        ({"X-CSRF": "wrong"}, 403),
        ({"X-CSRF": "\u00e4".encode()}, 403),
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
        ({"Content-Type": "multipart/form-data; boundary=x"}, 415),
        ({"Content-Type": "application/json; charset=utf-8"}, 200),
    ],
)
def test_writes_come_from_the_page_only(desk: Desk, headers: dict[str, Any], status: int) -> None:
    reading = desk.worklist(desk.anna)[0]["id"]
    sent = {"Content-Type": "application/json"} | headers
    answer = desk.anna.patch(f"/api/v1/assignments/{reading}", content='{"active_seconds": 1}', headers=sent)
    assert answer.status_code == status, answer.text


def test_another_login_s_csrf_is_of_no_use(desk: Desk) -> None:
    headers = {"X-CSRF": desk.ben.headers["X-CSRF"]}
    assert desk.anna.delete("/api/v1/session", headers=headers).status_code == 403


def test_logging_in_from_another_site_is_refused(desk: Desk) -> None:
    body = {"name": "anna", "password": "x"}
    answer = new_client(desk.app).post("/api/v1/session", json=body, headers={"Origin": "http://evil.example"})
    assert answer.status_code == 403


def test_every_write_needs_a_login_and_csrf(desk: Desk) -> None:
    """Over all routes, so that none can be forgotten."""
    stranger, forged = new_client(desk.app), new_client(desk.app)
    forged.cookies.set("xai_session", desk.chief.cookies["xai_session"])
    tried = 0
    for path, operations in desk.app.openapi()["paths"].items():
        for method in operations:
            if (method, path) in (("post", "/api/v1/session"), ("get", "/api/v1/healthz")):
                continue
            url = path.replace("{", "").replace("}", "")
            needed = {"format": "native", "project": "x", "label": "apex"}
            body = {"json": {"changes": []}} if method in ("post", "put", "patch") else {}
            for client, status in ((stranger, 401), (forged, 403)):
                if client is stranger or method != "get":
                    code = client.request(method, url, params=needed, headers={"If-Match": "0"}, **body).status_code
                    assert code == status, (method, path)
                    tried += 1
    assert tried > 25


def test_bodies_are_counted_as_they_come(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(security, "LIMITS", {security.JSON: 1000, security.BINARY: 2000})
    reading = desk.worklist(desk.anna)[0]["id"]
    body = json.dumps(desk.body(reading, note="x" * 1500)).encode()

    def slowly() -> Iterator[bytes]:
        yield body[:600]
        yield body[600:]

    for content in (body, slowly()):
        headers = {"If-Match": "0", "Content-Type": "application/json"}
        answer = desk.anna.put(f"/api/v1/annotations/{new_id()}", content=content, headers=headers)
        assert answer.status_code == 413 and "MiB" in answer.json()["error"], answer.text
    film = desk.chief.post(
        f"/api/v1/projects/{desk.project}/images", content=bytes(3000), headers={"Content-Type": security.BINARY}
    )
    assert film.status_code == 413


def test_the_cookie_is_out_of_reach_of_scripts_and_other_sites(desk: Desk, tmp_path) -> None:  # type: ignore[no-untyped-def]  # pytest's folder
    from annotate_desk import fill, invite_for

    app = create_app(tmp_path, hosts=["films.example.org"], secure=True)
    fill(app.state.database, 0, 0)
    client = TestClient(app, base_url="https://films.example.org")
    answer = client.post("/api/v1/session", json={"invite": invite_for(app.state.database, "anna")})
    parts = {p.strip().lower() for p in answer.headers["set-cookie"].split(";")[1:]}
    assert parts == {"httponly", "samesite=strict", "secure", "path=/", "max-age=28800"}
    assert answer.headers["Strict-Transport-Security"].startswith("max-age=")
    assert client.get("/api/v1/me").status_code == 200
    plain = desk.anna.get("/api/v1/me")
    assert "strict-transport-security" not in plain.headers


def test_what_was_sent_is_not_said_back(desk: Desk) -> None:
    answer = new_client(desk.app).post("/api/v1/session", json={"invite": "x", "password": "my secret"})
    assert answer.status_code == 422 and "my secret" not in answer.text
