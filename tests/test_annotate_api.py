"""What each endpoint answers when all is well, and its own refusals."""

import gzip
import io
from typing import Any

import numpy as np
import pytest
from annotate_desk import HEIGHT, WIDTH, Desk, logged_in
from PIL import Image as Picture
from xai_bench_annotations.drawings import SPINE
from xai_bench_annotations.films.store import film_path, read_pixels
from xai_bench_annotations.films.thumbnails import thumbnail
from xai_bench_annotations.server.security import BINARY
from xai_bench_annotations.server.tables import Image

import xai_bench

API = "/api/v1"


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    return Desk.make(tmp_path_factory.mktemp("desk"))


def png(seed: int) -> bytes:
    file = io.BytesIO()
    Picture.fromarray(np.random.default_rng(seed).integers(0, 255, (20, 30), dtype=np.uint8)).save(file, "PNG")
    return file.getvalue()


def post_film(desk: Desk, data: bytes, project: str | None = None) -> Any:
    url = f"{API}/projects/{project or desk.project}/images"
    return desk.chief.post(url, content=data, headers={"Content-Type": BINARY})


def test_me(desk: Desk) -> None:
    me = desk.anna.get(f"{API}/me").json()
    assert me == {"id": me["id"], "name": "anna", "role": "reader", "csrf": desk.anna.headers["X-CSRF"],
                  "version": xai_bench.__version__}  # fmt: skip


def test_health_and_openapi(desk: Desk) -> None:
    assert desk.anna.get(f"{API}/healthz").json() == {"status": "ok"}
    assert desk.anna.get(f"{API}/openapi.json").json()["openapi"].startswith("3.1")
    assert desk.anna.get("/docs").status_code == 404


def test_a_project_from_nothing_to_the_worklist(desk: Desk) -> None:
    wanted = {"name": "knees", "instructions": "**Mark** the gap.", "repeats": 0.5, "labels": {"labels": [
        {"code": "gap", "name": "Gap", "color": "#ff0000"}]}}  # fmt: skip
    made = desk.chief.post(f"{API}/projects", json=wanted)
    assert made.status_code == 201
    project = made.json()
    assert project["labels"]["labels"][0]["code"] == "gap" and project["instructions"] == wanted["instructions"]
    assert desk.chief.post(f"{API}/projects", json=wanted).status_code == 409
    films = [post_film(desk, png(seed), project["id"]).json() for seed in (1, 2)]
    assert [(f["number"], f["width"], f["height"], f["bits"]) for f in films] == [(1, 30, 20, 8), (2, 30, 20, 8)]
    given = desk.chief.post(f"{API}/projects/{project['id']}/readers", json={"readers": ["ANNA", "ben"]}).json()
    assert [(r["name"], r["states"]["not_started"]) for r in given["readers"]] == [("anna", 3), ("ben", 3)]
    own = desk.anna.get(f"{API}/assignments", params={"project": project["id"]}).json()
    assert [(r["position"], r["state"], r["annotations"], r["nothing_in"]) for r in own] == [
        (n, "not_started", 0, []) for n in (1, 2, 3)]  # fmt: skip
    assert sorted(r["read"] for r in own) == [1, 1, 2]
    assert {r["image"]["id"] for r in own} == {f["id"] for f in films}


def test_defaults_of_a_project_are_the_regions_of_the_spine(desk: Desk) -> None:
    assert desk.chief.get(f"{API}/projects/{desk.project}").json()["labels"] == SPINE.model_dump(mode="json")


def test_readers_that_do_not_exist_get_no_films(desk: Desk) -> None:
    answer = desk.chief.post(f"{API}/projects/{desk.project}/readers", json={"readers": ["anna", "zoe"]})
    assert answer.status_code == 422 and "'zoe'" in answer.json()["error"]


def test_a_film_is_added_once_and_only_if_it_is_one(desk: Desk) -> None:
    first = post_film(desk, png(7))
    assert first.status_code == 201
    again = post_film(desk, png(7))
    assert again.status_code == 409 and again.json()["image"] == first.json()["id"]
    for data in (b"", b"<svg/>", png(8)[:60], b"II*\0" + bytes(100)):
        answer = post_film(desk, data)
        assert answer.status_code == 422 and answer.json()["error"], data[:10]
    assert post_film(desk, png(9), "0" * 32).status_code == 404


def test_pixels_are_the_stored_file_and_known_ones_are_not_sent_again(desk: Desk) -> None:
    image = desk.worklist(desk.anna)[0]["image"]
    assert desk.anna.get(f"{API}/images/{image['id']}").json() == image
    url = f"{API}/images/{image['id']}/pixels"
    answer = desk.anna.get(url)
    with desk.database.reading() as session:
        row = session.get_one(Image, image["id"])
    pixels = read_pixels(desk.database.folder, row)
    assert answer.content == pixels.astype("<u2").tobytes() and pixels.shape == (HEIGHT, WIDTH)
    assert answer.headers["Content-Type"] == BINARY and answer.headers["Content-Encoding"] == "gzip"
    assert answer.headers["Cache-Control"] == "private, no-cache"
    known = desk.anna.get(url, headers={"If-None-Match": answer.headers["ETag"]})
    assert (known.status_code, known.content) == (304, b"")
    file = film_path(desk.database.folder, row)
    assert gzip.decompress(file.read_bytes()) == answer.content
    file.rename(file.with_suffix(".moved"))
    gone = desk.anna.get(url)
    file.with_suffix(".moved").rename(file)
    assert gone.status_code == 410 and "backup" in gone.json()["error"]


def test_a_thumbnail_is_small_and_known_ones_are_not_sent_again(desk: Desk) -> None:
    image = desk.worklist(desk.anna)[0]["image"]
    url = f"{API}/images/{image['id']}/thumbnail"
    answer = desk.anna.get(url)
    assert answer.headers["Content-Type"] == "image/png"
    assert Picture.open(io.BytesIO(answer.content)).size == (WIDTH, HEIGHT)
    assert desk.anna.get(url, headers={"If-None-Match": answer.headers["ETag"]}).status_code == 304


def film(**more: Any) -> Image:
    row: dict[str, Any] = {"photometric": "MONOCHROME2", "slope": 1.0, "intercept": 0.0, "window_center": None,
                           "window_width": None}  # fmt: skip
    return Image(**row | more)


def shown(pixels: Any, **more: Any) -> Any:
    return np.asarray(Picture.open(io.BytesIO(thumbnail(np.asarray(pixels, np.uint16), film(**more)))))


def test_thumbnails_show_a_film_as_it_is_first_shown() -> None:
    ramp = np.tile(np.arange(160, dtype=np.uint16) * 100, (40, 1))
    auto = shown(ramp)
    assert (
        auto.shape == (40, 160) and auto[0, 0] == 0 and auto[0, -1] == 255 and (np.diff(auto[0].astype(int)) >= 0).all()
    )
    assert (shown(ramp, photometric="MONOCHROME1") == 255 - auto).all()
    window = shown(ramp, window_center=-500.0, window_width=1000.0, slope=0.5, intercept=-2000.0)
    assert window[0, 20] == 0 and window[0, 40] == 255 and window[0, 30] == 128  # 2000, 4000, 3000 in stored values
    assert shown(ramp, window_center=0.0, window_width=0.0).shape == (40, 160)
    assert shown(np.zeros((500, 100))).shape == (160, 32)
    assert shown(np.zeros((4000, 2))).shape == (160, 1)


def test_readers_are_managed_by_admins(desk: Desk) -> None:
    made = desk.chief.post(f"{API}/readers", json={"name": "hugo"})
    assert made.status_code == 201
    hugo = made.json()
    client = logged_in(desk.app, hugo["invite"])
    listed = {r["name"]: r for r in desk.chief.get(f"{API}/readers").json()}
    assert listed["hugo"] == {"id": hugo["id"], "name": "hugo", "role": "reader", "active": True}
    assert desk.chief.post(f"{API}/readers", json={"name": "Hugo"}).status_code == 409
    assert desk.chief.delete(f"{API}/readers/{hugo['id']}").json()["active"] is False
    assert client.get(f"{API}/me").status_code == 401
    assert desk.chief.post(f"{API}/readers/{hugo['id']}/token").status_code == 422
    again = desk.chief.post(f"{API}/readers/{hugo['id']}/invite").json()
    assert again["active"] and logged_in(desk.app, again["invite"]).get(f"{API}/me").json()["name"] == "hugo"
    token = desk.chief.post(f"{API}/readers/{hugo['id']}/token").json()["token"]
    assert desk.anna.post(f"{API}/session", json={"token": token + "x"}).status_code == 401
    chief = desk.chief.get(f"{API}/me").json()["id"]
    assert desk.chief.delete(f"{API}/readers/{chief}").status_code == 422
    assert desk.chief.delete(f"{API}/readers/{'0' * 32}").status_code == 404


def test_a_reader_with_a_password_needs_no_invite(desk: Desk) -> None:
    made = desk.chief.post(f"{API}/readers", json={"name": "ines", "password": "correct horse"}).json()
    assert made["invite"] is None
    body = {"name": "ines", "password": "correct horse"}
    assert desk.chief.post(f"{API}/readers", json=body).status_code == 409
    from annotate_desk import new_client

    assert new_client(desk.app).post(f"{API}/session", json=body).status_code == 200


def test_export_and_import(desk: Desk) -> None:
    answer = desk.chief.get(f"{API}/projects/{desk.project}/export", params={"format": "native"})
    assert answer.status_code == 200 and answer.headers["Content-Type"] == "application/zip"
    report = desk.chief.post(
        f"{API}/projects/{desk.project}/import", params={"format": "native"}, content=answer.content,
        headers={"Content-Type": BINARY},
    )  # fmt: skip
    assert report.status_code == 200 and report.json()["problems"] == [] and report.json()["imported"] is False
    wrong = desk.chief.post(
        f"{API}/projects/{desk.project}/import",
        params={"format": "native"},
        content=b"x",
        headers={"Content-Type": BINARY},
    )
    assert wrong.status_code == 422
    assert desk.chief.get(f"{API}/projects/{desk.project}/export", params={"format": "svg"}).status_code == 422


def test_the_page_is_served_and_asked_for_each_time(desk: Desk) -> None:
    for path, kind in (
        ("/", "text/html"),
        ("/?invite=x", "text/html"),
        ("/page/vendor/konva.min.js", "text/javascript"),
    ):
        answer = desk.anna.get(path)
        assert answer.status_code == 200 and answer.headers["Content-Type"].startswith(kind)
        assert answer.headers["Cache-Control"] == "no-cache"
    assert desk.anna.get("/page/../app.py").status_code == 404
