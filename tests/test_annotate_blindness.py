"""Nobody learns anything of another reader's work: every endpoint that takes an id, asked for what is another's."""

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
from annotate_desk import SQUARE, Desk, new_id
from xai_bench_annotations.server.protocol import read_images, waited_for
from xai_bench_annotations.server.readers import deactivate, reader_named
from xai_bench_annotations.server.tables import Project

API = "/api/v1"
ADMINS_ONLY = {
    ("get", "/readers"), ("post", "/readers"), ("post", "/projects"), ("delete", "/readers/{reader_id}"),
    ("post", "/readers/{reader_id}/invite"), ("post", "/readers/{reader_id}/token"),
    ("post", "/projects/{project_id}/readers"), ("post", "/projects/{project_id}/images"),
    ("get", "/projects/{project_id}/export"), ("post", "/projects/{project_id}/import"),
    ("get", "/projects/{project_id}/agreement"), ("get", "/images/{image_id}/consensus"),
    ("get", "/images/{image_id}/compare"), ("get", "/images/{image_id}/picture"),
}  # fmt: skip
OF_NOBODY = {("get", "/healthz"), ("get", "/me"), ("get", "/projects"), ("post", "/session"), ("delete", "/session")}
QUERY = {"/assignments": "project"}


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    return Desk.make(tmp_path_factory.mktemp("desk"), films=2)


@pytest.fixture(scope="module")
def bens(desk: Desk) -> dict[str, str]:
    """Ids of a project that only ben reads, and of his things in it."""
    made = desk.chief.post(f"{API}/projects", json={"name": "ben's own"}).json()["id"]
    film = desk.database
    with film.writing() as session:
        from xai_bench_annotations.server.tables import Image

        project = session.get_one(Project, made)
        first = session.query(Image).filter_by(project_id=desk.project).first()
        assert first
        same = {c.key: getattr(first, c.key) for c in Image.__table__.columns if c.key not in ("id", "project_id")}
        session.add(Image(project_id=project.id, **same))
    assert desk.chief.post(f"{API}/projects/{made}/readers", json={"readers": ["ben"]}).status_code == 200
    reading = desk.ben.get(f"{API}/assignments", params={"project": made}).json()[0]
    name = new_id()
    assert desk.save(desk.ben, name, 0, desk.body(reading)).status_code == 200
    ben = desk.ben.get(f"{API}/me").json()["id"]
    return {
        "project_id": made, "image_id": reading["image"]["id"], "assignment_id": reading["id"], "annotation_id": name,
        "reader_id": ben,
    }  # fmt: skip


def operations(desk: Desk) -> list[tuple[str, str]]:
    paths = desk.app.openapi()["paths"]
    return [(method, path.removeprefix(API)) for path, found in paths.items() for method in found]


def body_of(method: str, path: str, bens: dict[str, str]) -> dict[str, Any]:
    drawing = {"assignment": bens["assignment_id"], "label": "column", "geometry": SQUARE}
    bodies: dict[tuple[str, str], Any] = {
        ("put", "/annotations/{annotation_id}"): drawing,
        ("patch", "/assignments/{assignment_id}"): {"active_seconds": 1},
        ("post", "/assignments/{assignment_id}/batch"): {"changes": []},
    }
    found = bodies.get((method, path))
    return {} if found is None else {"json": found}


def test_every_endpoint_as_another_reader(desk: Desk, bens: dict[str, str]) -> None:
    asked = 0
    for method, path in operations(desk):
        if (method, path) in OF_NOBODY:
            continue
        url = f"{API}{path}".format(**bens)
        params = {"format": "native", "label": "apex"} | {q: bens["project_id"] for p, q in QUERY.items() if p == path}
        body = body_of(method, path, bens)
        answer = desk.anna.request(method, url, params=params, headers={"If-Match": "1"}, **body)
        expected = 403 if (method, path) in ADMINS_ONLY else 404
        assert answer.status_code == expected, (method, path, answer.text)
        assert set(answer.json()) == {"error"}
        if expected == 404:  # what does not exist answers in the same words
            nowhere = f"{API}{path}".format(**dict.fromkeys(bens, "0" * 32))
            nothing = {k: "0" * 32 if v == bens["project_id"] else v for k, v in params.items()}
            same = desk.anna.request(method, nowhere, params=nothing, headers={"If-Match": "1"}, **body)
            assert (same.status_code, same.text) == (404, answer.text), (method, path)
        asked += 1
    assert asked == len(operations(desk)) - len(OF_NOBODY)


def test_a_drawing_cannot_be_put_over_another_s_or_into_his_reading(desk: Desk, bens: dict[str, str]) -> None:
    mine = desk.worklist(desk.anna)[0]
    assert desk.save(desk.anna, bens["annotation_id"], 1, desk.body(mine)).status_code == 404
    assert desk.save(desk.anna, new_id(), 0, desk.body(bens["assignment_id"])).status_code == 404
    change = {"op": "delete", "id": bens["annotation_id"], "rev": 1}
    batch = desk.anna.post(f"{API}/assignments/{mine['id']}/batch", json={"changes": [change]})
    assert batch.json()["changes"][0] == {
        "id": change["id"], "status": 404, "annotation": None, "error": "there is no such drawing"
    }  # fmt: skip
    kept = desk.ben.get(f"{API}/assignments/{bens['assignment_id']}/annotations").json()
    assert [(k["id"], k["rev"], k["deleted"]) for k in kept] == [(bens["annotation_id"], 1, False)]


@pytest.mark.parametrize("name", ["..", "%2e%2e%2fsecret", "../../secret", "..%5c..%5csecret", "%00", "a" * 3000])
def test_ids_are_names_in_the_database_and_never_paths(desk: Desk, name: str) -> None:
    for path in ("images/{}/pixels", "images/{}/thumbnail", "assignments/{}/annotations", "annotations/{}/history"):
        assert desk.anna.get(f"{API}/{path.format(name)}").status_code in (404, 405), path
    assert desk.anna.get(f"/page/{name}/app.py").status_code in (404, 405)


def test_a_reader_is_told_of_own_counts_only(desk: Desk, bens: dict[str, str]) -> None:
    annas, bens_own = (client.get(f"{API}/projects").json() for client in (desk.anna, desk.ben))
    assert [p["name"] for p in annas] == ["spines"] and [p["name"] for p in bens_own] == ["ben's own", "spines"]
    assert annas[0]["readers"] is None and sum(annas[0]["states"].values()) == annas[0]["films"] == 2
    told = desk.chief.get(f"{API}/projects/{desk.project}").json()
    assert [r["name"] for r in told["readers"]] == ["anna", "ben"] and told["films"] == 2


def test_the_lock_opens_when_everybody_has_read_a_film(tmp_path) -> None:  # type: ignore[no-untyped-def]  # pytest's folder
    desk = Desk.make(tmp_path, films=2)
    film = desk.worklist(desk.anna)[0]["image"]
    annas = next(r for r in desk.worklist(desk.anna) if r["image"] == film)
    bens = next(r for r in desk.worklist(desk.ben) if r["image"] == film)
    name = new_id()
    desk.save(desk.anna, name, 0, desk.body(annas))

    def told(reading: dict[str, Any]) -> list[int]:
        urls = (f"{API}/assignments/{reading['id']}/annotations", f"{API}/annotations/{name}/history")
        return [desk.chief.get(url).status_code for url in urls]

    def change(reader: Any, reading: dict[str, Any], **body: Any) -> None:
        assert reader.patch(f"{API}/assignments/{reading['id']}", json=body).status_code == 200

    assert told(annas) == [423, 423]
    change(desk.anna, annas, state="done", nothing_in=["apex"])
    assert told(annas) == [423, 423]
    change(desk.ben, bens, state="flagged")
    assert told(annas) == [423, 423]
    change(desk.ben, bens, state="done", nothing_in=["apex", "column"])
    assert told(annas) == [200, 200]
    for client, reading in ((desk.anna, bens), (desk.ben, annas)):  # never for readers
        assert client.get(f"{API}/assignments/{reading['id']}/annotations").status_code == 404
    for body in ({"state": "in_progress"}, {"active_seconds": 1}):  # and an admin only looks
        assert desk.chief.patch(f"{API}/assignments/{annas['id']}", json=body).status_code == 404
    assert desk.save(desk.chief, name, 1, desk.body(annas)).status_code == 404
    with desk.database.reading() as session:
        assert [i.id for i in read_images(session, session.query(Project).one())] == [film["id"]]
    change(desk.ben, bens, state="in_progress")
    assert told(annas) == [423, 423]


def test_an_admin_who_reads_too_is_blind_until_done(tmp_path) -> None:  # type: ignore[no-untyped-def]  # pytest's folder
    desk = Desk.make(tmp_path, films=2, repeats=0.5)
    desk.chief.post(f"{API}/projects/{desk.project}/readers", json={"readers": ["chief"]})
    for reader in (desk.anna, desk.ben):
        desk.finish(reader)
    own = desk.worklist(desk.chief)
    repeated = next(r["image"]["id"] for r in own if r["read"] == 2)
    annas = next(r for r in desk.worklist(desk.anna) if r["image"]["id"] == repeated)
    url = f"{API}/assignments/{annas['id']}/annotations"
    for reading in own:
        assert desk.chief.get(url).status_code == 423  # also before the repeat
        done = {"state": "done", "nothing_in": ["column", "apex"]}
        assert desk.chief.patch(f"{API}/assignments/{reading['id']}", json=done).status_code == 200
    assert desk.chief.get(url).status_code == 200


def exported(desk: Desk, form: str = "native") -> tuple[set[int], str]:
    """The films whose readings an admin gets, and what the report says."""
    answer = desk.chief.get(f"{API}/projects/{desk.project}/export", params={"format": form})
    assert answer.status_code == 200
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        report = archive.read("report.txt").decode()
        if form == "png":
            return {int(Path(name).stem) for name in archive.namelist() if name.endswith(".png")}, report
        document = json.loads(archive.read({"native": "project.json", "coco": "annotations.json"}[form]))
        return {reading["film"] for reading in document["readings"]}, report


@pytest.mark.parametrize("form", ["native", "coco", "png"])
def test_an_export_holds_no_film_that_somebody_still_reads(tmp_path: Path, form: str) -> None:
    desk = Desk.make(tmp_path, films=2)
    desk.finish(desk.anna)
    assert exported(desk, form)[0] == set()
    first = desk.worklist(desk.ben)[0]
    done = {"state": "done", "nothing_in": ["column", "apex"]}
    assert desk.ben.patch(f"{API}/assignments/{first['id']}", json=done).status_code == 200
    films, report = exported(desk, form)
    assert films == {first["image"]["number"]} and "1 films are left out: not all of their readers" in report
    desk.chief.post(f"{API}/projects/{desk.project}/readers", json={"readers": ["chief"]})
    assert exported(desk, form)[0] == set()
    desk.finish(desk.ben)
    desk.finish(desk.chief)
    films, report = exported(desk, form)
    assert films == {1, 2} and "not all of their readers" not in report


def test_an_export_waits_for_the_admin_s_own_repeat(tmp_path: Path) -> None:
    desk = Desk.make(tmp_path, films=3, repeats=0.4)
    desk.chief.post(f"{API}/projects/{desk.project}/readers", json={"readers": ["chief"]})
    for reader in (desk.anna, desk.ben, desk.chief):
        desk.finish(reader)
    assert exported(desk)[0] == {1, 2, 3}
    again = next(r for r in desk.worklist(desk.chief) if r["read"] == 2)
    assert desk.chief.patch(f"{API}/assignments/{again['id']}", json={"state": "in_progress"}).status_code == 200
    assert exported(desk)[0] == {1, 2, 3} - {again["image"]["number"]}


def test_nobody_waits_for_who_has_left(tmp_path) -> None:  # type: ignore[no-untyped-def]  # pytest's folder
    desk = Desk.make(tmp_path, films=1)
    desk.finish(desk.anna)
    with desk.database.writing() as session:
        (project,) = session.query(Project).all()
        assert waited_for(session, project.images[0]) == ["ben"] and read_images(session, project) == []
        ben = reader_named(session, "ben")
        assert ben
        deactivate(session, ben)
        assert waited_for(session, project.images[0]) == [] and read_images(session, project) == project.images
