"""Results by REST: for admins, locked until all first readings are done, numbers as in the functions."""

from pathlib import Path
from typing import Any

import pytest
from annotate_desk import HEIGHT, SQUARE, WIDTH, Desk, new_id
from xai_bench_annotations.films.raster import decode_runs, mask_of

API = "/api/v1"
BESIDE = {"kind": "rectangle", "x": 4, "y": 2, "width": 6, "height": 7}


def read(desk: Desk, reader: Any, film: int, geometry: dict[str, Any] | None, read_no: int = 1) -> None:
    """Draw a column (or say that there is none), nothing else, and finish."""
    mine = next(r for r in desk.worklist(reader) if (r["image"]["number"], r["read"]) == (film, read_no))
    nothing = ["apex"] if geometry else ["apex", "column"]
    if geometry:
        assert desk.save(reader, new_id(), 0, desk.body(mine, geometry=geometry)).status_code == 200
    done = {"state": "done", "nothing_in": nothing}
    assert reader.patch(f"{API}/assignments/{mine['id']}", json=done).status_code == 200


def film(desk: Desk, number: int = 1) -> str:
    return next(str(r["image"]["id"]) for r in desk.worklist(desk.anna) if r["image"]["number"] == number)


def asked(desk: Desk, path: str, client: Any = None, **params: Any) -> Any:
    return (client or desk.chief).get(f"{API}{path}", params=params)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk.make(tmp_path, films=2)


def paths(desk: Desk) -> list[tuple[str, dict[str, Any]]]:
    image = film(desk)
    return [
        (f"/images/{image}/compare", {}),
        (f"/images/{image}/consensus", {"label": "column"}),
        (f"/projects/{desk.project}/agreement", {}),
    ]


def test_locked_until_all_first_readings_are_done(desk: Desk) -> None:
    for step in (lambda: None, lambda: read(desk, desk.anna, 1, SQUARE)):
        step()
        for path, params in paths(desk):
            answer = asked(desk, path, **params)
            assert answer.status_code == 423 and set(answer.json()) == {"error"}, path
    read(desk, desk.ben, 1, BESIDE)
    for path, params in paths(desk):
        assert asked(desk, path, **params).status_code == 200, path
        for reader in (desk.anna, desk.ben):
            assert asked(desk, path, reader, **params).status_code == 403
    mine = next(r for r in desk.worklist(desk.ben) if r["image"]["number"] == 1)
    assert desk.save(desk.ben, new_id(), 0, desk.body(mine)).status_code == 200  # drawn again: open again
    for path, params in paths(desk):
        assert asked(desk, path, **params).status_code == 423


def test_side_by_side(desk: Desk) -> None:
    read(desk, desk.anna, 1, SQUARE)
    read(desk, desk.ben, 1, None)
    found = asked(desk, f"/images/{film(desk)}/compare").json()
    assert found["readers"] == ["anna", "ben"] and found["scale"] == 1
    column = found["labels"][0]
    assert column["code"] == "column" and column["area"]
    anna, ben = column["readers"]["anna"], column["readers"]["ben"]
    assert (anna["state"], ben["state"]) == ("drawn", "nothing")
    assert anna["percent"] == pytest.approx(100 * 42 / (HEIGHT * WIDTH))
    assert anna["outline"].startswith("M2 2H8") and ben["outline"] == ""
    assert found["labels"][3]["readers"]["ben"]["state"] == "open"
    values = {m["measure"]: m for m in found["measures"] if m["label"] == "column" and len(m["readers"]) == 2}
    assert values["dice"]["value"] == 0
    assert values["distance_px"]["value"] is None and values["distance_px"]["reason"] == "one of the two masks is empty"


def test_consensus_is_kept_and_says_its_domain(desk: Desk) -> None:
    read(desk, desk.anna, 1, SQUARE)
    read(desk, desk.ben, 1, BESIDE)
    path = f"/images/{film(desk)}/consensus"
    found = asked(desk, path, label="column", method="intersection").json()
    both = mask_of(SQUARE, (HEIGHT, WIDTH)) & mask_of(BESIDE, (HEIGHT, WIDTH))
    assert (decode_runs(found["mask"]["counts"], (HEIGHT, WIDTH)) == both).all()
    assert found["domain"] == f"all {WIDTH} x {HEIGHT} pixels of the film" and found["outline"]
    assert found["rates"]["anna"]["sensitivity"] == 1
    assert asked(desk, path, label="column", method="intersection").json()["id"] == found["id"]
    assert asked(desk, path, label="cobb").status_code == 404
    assert asked(desk, path, label="column", method="mean").status_code == 422
    assert asked(desk, path, label="slipped_level").status_code == 422  # nobody answered it
    assert "levels" in asked(desk, path, label="column", method="soft_mean").json()["mask"]


def test_agreement(desk: Desk) -> None:
    read(desk, desk.anna, 1, SQUARE)
    read(desk, desk.ben, 1, BESIDE)
    found = asked(desk, f"/projects/{desk.project}/agreement").json()
    assert [f["number"] for f in found["films"]] == [1]
    assert found["left_out"] == [{"number": 2, "reason": "0 of 2 first readings are done, 2 not finished"}]
    assert any("1 do not count yet" in note for note in found["notes"])
    dice = next(t for t in found["tables"] if t["name"] == "overlap")["groups"][0]["rows"][0][1]["numbers"]
    a, b = (mask_of(g, (HEIGHT, WIDTH)) for g in (SQUARE, BESIDE))
    assert dice == {"value": 2 * (a & b).sum() / (a.sum() + b.sum()), "low": None, "high": None, "films": 1}
    short = asked(desk, f"/projects/{desk.project}/agreement", tables=False).json()
    assert short["tables"] == [] and short["films"] == found["films"]


def test_the_picture_of_a_film(desk: Desk) -> None:
    path = f"/images/{film(desk)}/picture"
    answer = asked(desk, path)
    assert answer.status_code == 200 and answer.content.startswith(b"\x89PNG")
    known = desk.chief.get(f"{API}{path}", headers={"If-None-Match": answer.headers["etag"]})
    assert known.status_code == 304 and not known.content


def test_an_admin_who_still_has_to_read_a_film_sees_nothing_of_it(tmp_path: Path) -> None:
    desk = Desk.make(tmp_path, films=3, repeats=0.4)
    chief = desk.chief
    assert chief.post(f"{API}/projects/{desk.project}/readers", json={"readers": ["chief"]}).status_code == 200
    again = next(r["image"]["number"] for r in desk.worklist(chief) if r["read"] == 2)
    for reader in (desk.anna, desk.ben, chief):
        for number in (1, 2, 3):
            read(desk, reader, number, SQUARE)
    image = film(desk, again)
    answer = asked(desk, f"/images/{image}/compare")
    assert answer.status_code == 423 and "your own worklist" in answer.json()["error"]
    found = asked(desk, f"/projects/{desk.project}/agreement").json()  # nor in any number
    assert [f["number"] for f in found["films"]] == [n for n in (1, 2, 3) if n != again]
    assert found["left_out"] == [{"number": again, "reason": "it is still on your own worklist"}]
    read(desk, chief, again, SQUARE, read_no=2)
    assert asked(desk, f"/images/{image}/compare").status_code == 200
