"""Agreement of readers: known rates recovered, distances and angles by hand, repeats apart, undefined values said."""

import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from annotated_cases import assignment_of, film_number, finish, image_of, project_id, project_of
from xai_bench_annotations.drawings import Label, LabelSchema
from xai_bench_annotations.results.comparing import agreement
from xai_bench_annotations.results.estimates import alpha, kappa, limits_of_agreement
from xai_bench_annotations.results.measuring import (
    ALONE,
    FEW,
    ITERATIONS,
    NO_SPACING,
    NOBODY,
    NOT_ANSWERED,
    UNSETTLED,
    Observation,
    observations,
)
from xai_bench_annotations.results.readings import Film, film_of, films_of, find_image
from xai_bench_annotations.server.database import Database
from xai_bench_annotations.server.refusals import Refusal
from xai_bench_annotations.server.tables import Assignment, Reader

from xai_bench.agreement import (
    BOTH_EMPTY,
    ONE_EMPTY,
    dice,
    fleiss_kappa,
    krippendorff_alpha,
    pointing_ceiling,
    reader_rates,
)
from xai_bench.consensus import majority, staple
from xai_bench.errors import BadInput
from xai_bench.reporting.table import Cell, Table
from xai_bench.statistics import bootstrap_mean, interval

PAIR = "anna \N{EN DASH} ben"
AREA = LabelSchema(labels=[Label(code="apex", name="Apex", color="#e76f51")])
BOTH = LabelSchema(
    labels=[
        Label(code="cobb", name="Cobb", color="#4895ef", kinds=["cobb"], required=False),
        Label(code="point", name="Point", color="#b5179e", kinds=["landmark"], required=False),
    ]
)


def tables_of(database: Database, **options: object) -> dict[str, Table]:
    with database.reading() as session:
        return {t.name: t for t in agreement(session, project_id(database), **options)}


def row(table: Table, label: str, who: str) -> tuple[Cell, ...]:
    return next(r for g in table.groups if g.heading == label for r in g.rows if r[0].text == who)


def cell(table: Table, label: str, who: str, column: str) -> Cell:
    place = [c.title if not c.small else f"{c.title}, {c.small}" for c in table.columns].index(column)
    return row(table, label, who)[place]


def value(table: Table, label: str, who: str, column: str) -> float:
    found = cell(table, label, who, column).numbers["value"]
    assert isinstance(found, float)
    return found


def on_film(
    database: Database, film: int = 1, method: str = "majority"
) -> dict[tuple[str, tuple[str, ...]], Observation]:
    with database.reading() as session:
        films = films_of(session, project_id(database))
    chosen = next(f for f in films.counted if f.number == film)
    return {(o.measure, o.who): o for o in observations(chosen, films.schema)}


def ellipse(shape: tuple[int, int] = (60, 50)) -> np.ndarray:
    y, x = np.mgrid[: shape[0], : shape[1]]
    return (y - 30) ** 2 / 18**2 + (x - 25) ** 2 / 12**2 < 1


# --- rates ----------------------------------------------------------------------------------------------------------

KNOWN = {"anna": (0.92, 0.98), "ben": (0.8, 0.995), "carl": (0.7, 0.95), "dora": (0.95, 0.9), "eva": (0.85, 0.97)}


def test_simulated_readers_are_recovered(tmp_path: Path) -> None:
    rng, truth = np.random.default_rng(3), ellipse()
    database = project_of(tmp_path, [film_number(n) for n in range(6)], list(KNOWN), AREA)
    for film in range(1, 7):
        for who, (sensitivity, specificity) in KNOWN.items():
            drawn = np.where(truth, rng.random(truth.shape) < sensitivity, rng.random(truth.shape) >= specificity)
            finish(database, film, who, {"apex": [drawn]})
    table = tables_of(database)["readers_staple"]
    for who, (sensitivity, specificity) in KNOWN.items():
        assert value(table, "Apex", who, "sensitivity") == pytest.approx(sensitivity, abs=0.02)
        assert value(table, "Apex", who, "specificity") == pytest.approx(specificity, abs=0.02)
        assert cell(table, "Apex", who, "sensitivity").small == "n 6"
    assert "all pixels of a film (50 \N{MULTIPLICATION SIGN} 60)" in table.caption


def test_each_reader_against_the_others_without_the_own_drawing(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    masks = {who: rng.random((60, 50)) < 0.4 for who in ("anna", "ben", "carl")}
    database = project_of(tmp_path, [film_number(0)], list(masks), AREA)
    for who, mask in masks.items():
        finish(database, 1, who, {"apex": [mask]})
    table = tables_of(database)["readers_others"]
    for who, mask in masks.items():
        others = majority([m for other, m in masks.items() if other != who])
        rates = reader_rates(mask, others)
        assert value(table, "Apex", who, "sensitivity") == rates.sensitivity
        assert value(table, "Apex", who, "specificity") == rates.specificity
        assert value(table, "Apex", who, "Dice") == dice(mask, others)
        assert value(table, "Apex", who, "pointing ceiling") == pointing_ceiling(mask, others).value
    assert on_film(database)["staple_sensitivity", ("ben",)].reason == UNSETTLED  # drawn without a common truth
    of_union = tables_of(database, method="union")["readers_others"]
    assert (
        value(of_union, "Apex", "anna", "sensitivity") == reader_rates(masks["anna"], masks["ben"] | masks["carl"])[0]
    )
    with pytest.raises(BadInput, match="method 'mean' is not known"):
        tables_of(database, method="mean")


def test_the_others_staple_is_of_the_whole_film(tmp_path: Path) -> None:
    rng, boxes = np.random.default_rng(2), np.zeros((4, 60, 50), bool)
    for box, (row_, column) in zip(boxes, [(3, 3), (4, 5), (7, 4), (6, 8)], strict=True):
        box[row_ : row_ + 8, column : column + 8] = rng.random((8, 8)) < 0.9
    masks = dict(zip(("anna", "ben", "carl", "dora"), boxes, strict=True))
    database = project_of(tmp_path, [film_number(0)], list(masks), AREA)
    for who, mask in masks.items():
        finish(database, 1, who, {"apex": [mask]})
    table = tables_of(database, method="staple")["readers_others"]
    cut = []
    for who, mask in masks.items():
        others = [m for other, m in masks.items() if other != who]
        assert value(table, "Apex", who, "Dice") == dice(mask, staple(others).mask)
        cut.append(dice(mask[:15, :16], staple([m[:15, :16] for m in others]).mask) != dice(mask, staple(others).mask))
    assert any(cut)  # STAPLE's prior is the share of marked pixels, so a cut of the film gives other masks


def test_a_staple_of_the_others_that_does_not_converge_is_no_reference(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    masks = {who: rng.random((60, 50)) < 0.4 for who in ("anna", "ben", "carl", "dora")}
    database = project_of(tmp_path, [film_number(0)], list(masks), AREA)
    for who, mask in masks.items():
        finish(database, 1, who, {"apex": [mask]})
    with database.reading() as session:
        film = films_of(session, project_id(database)).counted[0]
    found = {o.who: o.reason for o in observations(film, AREA, "staple") if o.measure == "dice_to_others"}
    expected = {
        (who,): None if staple([m for w, m in masks.items() if w != who], ITERATIONS).converged else UNSETTLED
        for who in masks
    }
    assert found == expected and UNSETTLED in found.values()


def test_means_and_intervals_are_those_of_statistics_clustered_by_patient(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    database = project_of(tmp_path, [film_number(n) for n in range(5)], ["anna", "ben"], AREA)
    scores = []
    for film in range(1, 6):
        a, b = rng.random((2, 60, 50)) < rng.uniform(0.2, 0.6)
        scores.append(dice(a, b))
        finish(database, film, "anna", {"apex": [a]})
        finish(database, film, "ben", {"apex": [b]})
    with database.reading() as session:
        shas = [f.sha256 for f in films_of(session, project_id(database)).counted]
    whose = dict(zip(shas, "ppqrs", strict=True))
    over_patients, over_films = tables_of(database, patients=whose)["overlap"], tables_of(database)["overlap"]
    for table, clusters in ((over_patients, list("ppqrs")), (over_films, list("abcde"))):
        found, expected = row(table, "Apex", PAIR)[1].numbers, bootstrap_mean(np.array(scores), clusters)
        assert found == {"value": np.mean(scores), "low": expected.low, "high": expected.high, "films": 5}
    assert "over 4 patients" in over_patients.footnotes[-1]
    assert "over films; whose films they are is not known" in over_films.footnotes[-1]


# --- areas ----------------------------------------------------------------------------------------------------------


def test_empty_answers_are_said_and_never_pooled(tmp_path: Path) -> None:
    box = np.zeros((60, 50), bool)
    box[10:20, 10:20] = True
    database = project_of(tmp_path, [film_number(n) for n in range(3)], ["anna", "ben"], AREA, spacing=(0.5, 0.25))
    for film, (a, b) in enumerate([([box], [box]), ([], []), ([box], [])], start=1):
        finish(database, film, "anna", {"apex": a})
        finish(database, film, "ben", {"apex": b})
    tables = tables_of(database)
    assert value(tables["overlap"], "Apex", PAIR, "Dice") == 0.5  # 1 and 0: the film without anything is no film
    assert cell(tables["overlap"], "Apex", PAIR, "Dice").small == "n 2"
    assert f"Apex: films left out, {BOTH_EMPTY}: {PAIR} 1." in tables["overlap"].footnotes
    assert cell(tables["distances"], "Apex", PAIR, "mean distance, mm").small == "n 1"
    assert f"Apex: films left out, {ONE_EMPTY}: {PAIR} 1." in tables["distances"].footnotes
    assert "3 films: mm as the data set states them." in tables["distances"].footnotes
    assert "readers_staple" not in tables  # two readers: nobody knows who is right
    assert on_film(database)["staple_sensitivity", ("ben",)].reason == FEW
    split = row(tables["presence"], "", "Apex")
    assert split[2].text == "1 / 1 / 1"
    assert value(tables["presence"], "", "Apex", "same answer, of pairs") == pytest.approx(2 / 3)


def test_all_readers_marked_nothing(tmp_path: Path) -> None:
    database = project_of(tmp_path, [film_number(0)], ["anna", "ben", "carl"], AREA)
    for who in ("anna", "ben", "carl"):
        finish(database, 1, who, {"apex": []})
    tables = tables_of(database)
    assert set(tables) == {"presence", "readers_others"}
    assert "Apex: no alpha and no kappa, all ratings are equal." in tables["presence"].footnotes
    assert value(tables["readers_others"], "Apex", "anna", "specificity") == 1.0
    assert on_film(database)["staple_sensitivity", ("anna",)].reason == NOBODY


def test_surface_distance_in_pixels_and_mm(tmp_path: Path) -> None:
    a, b = np.zeros((2, 60, 50), bool)
    a[10:20, 10], b[10:20, 14] = True, True
    database = project_of(tmp_path, [film_number(0)], ["anna", "ben"], AREA, spacing=(0.2, 0.5))
    finish(database, 1, "anna", {"apex": [a]})
    finish(database, 1, "ben", {"apex": [b]})
    found = on_film(database)
    who = ("anna", "ben")
    assert found["distance_px", who].value == 4.0
    assert found["hausdorff95_mm", who].value == pytest.approx(2.0)  # 4 columns of 0.5 mm


# --- points and angles ----------------------------------------------------------------------------------------------


def point(x: float, y: float) -> dict[str, object]:
    return {"kind": "landmark", "at": [x, y]}


def cobb(degrees: float, top: float = 10) -> dict[str, object]:
    rise = 10 * math.tan(math.radians(degrees))
    return {"kind": "cobb", "upper": [[10, top], [20, top]], "lower": [[20, top + 20 + rise], [10, top + 20]]}


def test_landmarks_are_paired_and_measured_in_both_units(tmp_path: Path) -> None:
    database = project_of(tmp_path, [film_number(n) for n in range(3)], ["anna", "ben"], BOTH, spacing=(0.5, 0.25))
    said = [
        ([point(10, 10)], [point(13, 14)]),
        ([point(10, 10), point(30, 30)], [point(30, 34), point(10, 12)]),  # drawn in another order
        ([point(10, 10)], [point(10, 10), point(20, 20)]),
    ]
    for film, (a, b) in enumerate(said, start=1):
        finish(database, film, "anna", {"point": a, "cobb": []})
        finish(database, film, "ben", {"point": b, "cobb": []})
    table = tables_of(database)["landmarks"]
    assert value(table, "Point", PAIR, "distance, pixels") == pytest.approx((5 + 2 + 4) / 3)
    assert value(table, "Point", PAIR, "distance, mm") == pytest.approx((math.hypot(0.75, 2) + 1 + 2) / 3)
    assert cell(table, "Point", PAIR, "distance, pixels").small == "n 2"
    assert f"Point: films left out, the two set unequal numbers of landmarks: {PAIR} 1." in table.footnotes


def test_a_film_without_spacing_has_no_mm(tmp_path: Path) -> None:
    database = project_of(tmp_path, [film_number(0)], ["anna", "ben"], BOTH)
    for who in ("anna", "ben"):
        finish(database, 1, who, {"point": [point(1, 2)], "cobb": []})
    assert on_film(database)["landmark_mm", ("anna", "ben")].reason == NO_SPACING
    assert len(tables_of(database)["landmarks"].columns) == 2


def test_cobb_differences(tmp_path: Path) -> None:
    database = project_of(tmp_path, [film_number(n) for n in range(4)], ["anna", "ben"], BOTH)
    pairs = [(20, 26), (30, 28), (40, 40), (10, 14)]
    for film, (a, b) in enumerate(pairs, start=1):
        finish(database, film, "anna", {"cobb": [cobb(a)], "point": []})
        finish(database, film, "ben", {"cobb": [cobb(b)], "point": []})
    table = tables_of(database)["angles"]
    apart = np.array([a - b for a, b in pairs], float)
    assert value(table, "Cobb", PAIR, "absolute difference") == pytest.approx(3.0)
    assert value(table, "Cobb", PAIR, "bias") == pytest.approx(-2.0)
    limits = cell(table, "Cobb", PAIR, "limits of agreement").numbers
    spread = 1.96 * apart.std(ddof=1)
    assert limits["low"] == pytest.approx(-2 - spread) and limits["high"] == pytest.approx(-2 + spread)
    assert value(table, "Cobb", PAIR, "within 5°") == 0.75
    expected = krippendorff_alpha([[a for a, _ in pairs], [b for _, b in pairs]], "interval").value
    assert any(f"angles (interval level) {expected:.2f} [" in note for note in table.footnotes)


def test_several_angles_are_paired_from_top_to_bottom(tmp_path: Path) -> None:
    database = project_of(tmp_path, [film_number(0)], ["anna", "ben"], BOTH)
    finish(database, 1, "anna", {"cobb": [cobb(30, top=30), cobb(20)], "point": []})
    finish(database, 1, "ben", {"cobb": [cobb(22), cobb(33, top=30)], "point": []})
    with database.reading() as session:
        film = films_of(session, project_id(database)).counted[0]
    assert film.first["anna"].angles("cobb") == pytest.approx((20, 30))
    found = [o.value for o in observations(film, BOTH) if o.measure == "angle_difference"]
    assert found == pytest.approx([-2, -3])


@pytest.mark.parametrize("turn", [0, 35, 90, 170])
def test_a_cobb_angle_does_not_turn_with_the_film_or_its_lines(turn: float) -> None:
    from xai_bench_annotations.drawings import Cobb
    from xai_bench_annotations.results.readings import cobb_degrees

    way = np.radians([turn, turn + 50])
    ends = [[(0.0, 0.0), (float(np.cos(w)), float(np.sin(w)))] for w in way]
    for upper in (ends[0], ends[0][::-1]):
        assert cobb_degrees(Cobb(kind="cobb", upper=tuple(upper), lower=tuple(ends[1]))) == pytest.approx(50)


# --- presence -------------------------------------------------------------------------------------------------------


def test_alpha_and_kappa_are_those_of_agreement_and_the_interval_repeats_patients() -> None:
    rng = np.random.default_rng(4)
    ratings = (rng.random((3, 40)) < 0.5).astype(float)
    ratings[:, :20] = ratings[0, :20]
    found, limits = alpha(ratings, [str(n) for n in range(40)])
    assert found.value == pytest.approx(krippendorff_alpha(ratings.tolist(), "nominal").value)
    assert kappa(ratings).value == pytest.approx(fleiss_kappa(ratings.tolist()).value)
    assert limits.low < found.value < limits.high and limits.n_patients == 40
    twice, wider = alpha(np.tile(ratings, 2), [str(n) for n in range(40)] * 2)
    assert wider.n_patients == 40 and wider.n == 80
    assert wider.low == pytest.approx(limits.low, abs=0.02)  # the same films again are no new patients
    ratings[0, 0] = np.nan
    assert kappa(ratings).reason == "films were answered by unequal numbers of readers, or by one"
    assert alpha(ratings, [str(n) for n in range(40)])[0].value == krippendorff_alpha(ratings.tolist()).value
    assert twice.value == pytest.approx(found.value, abs=0.02)


def test_limits_of_agreement_need_two_values() -> None:
    assert limits_of_agreement(np.array([1.0]), ["p"]).text == "—"


def test_open_labels_are_no_answers(tmp_path: Path) -> None:
    database = project_of(tmp_path, [film_number(0)], ["anna", "ben"], BOTH)
    finish(database, 1, "anna", {"point": [point(1, 1)]})
    finish(database, 1, "ben", {})
    found = on_film(database)
    assert found["marked", ("ben",)].reason == NOT_ANSWERED
    assert found["landmark_px", ("anna", "ben")].reason == NOT_ANSWERED
    assert "Cobb: answered by nobody." in tables_of(database)["presence"].footnotes


def test_one_reader_alone_has_no_reference(tmp_path: Path) -> None:
    database = project_of(tmp_path, [film_number(0)], ["anna"], AREA)
    finish(database, 1, "anna", {"apex": [ellipse()]})
    assert on_film(database)["sensitivity", ("anna",)].reason == ALONE


# --- repeats and the lock -------------------------------------------------------------------------------------------


def test_repeats_are_compared_with_the_same_reader_only(tmp_path: Path) -> None:
    database = project_of(tmp_path, [film_number(n) for n in range(4)], ["anna", "ben"], AREA, repeats=0.25)
    rng = np.random.default_rng(0)
    for film in range(1, 5):
        for who in ("anna", "ben"):
            finish(database, film, who, {"apex": [rng.random((60, 50)) < 0.5]})
    before = tables_of(database)
    assert "repeats" not in before
    with database.reading() as session:
        again = [(a.image.number, a.reader.name) for a in session.query(Assignment) if a.read == 2]
    assert {who for _, who in again} == {"anna", "ben"}
    film, who = next((film, who) for film, who in again if who == "anna")
    mask = rng.random((60, 50)) < 0.5
    finish(database, film, who, {"apex": [mask]}, read=2)
    after = tables_of(database)
    with database.reading() as session:
        first = film_of(session, find_image(session, image_of(database, film))).first["anna"].area("apex")
    assert first is not None
    assert value(after["repeats"], "Apex", "anna", "Dice") == dice(first, mask)
    assert {name: table for name, table in after.items() if name != "repeats"} == before


def test_nothing_is_shown_before_all_first_readings_are_done(tmp_path: Path) -> None:
    database = project_of(tmp_path, [film_number(n) for n in range(2)], ["anna", "ben"], AREA)
    finish(database, 1, "anna", {"apex": [ellipse()]})
    finish(database, 1, "ben", {"apex": [ellipse()]}, state="in_progress")
    with pytest.raises(Refusal, match="none of its 2 films has") as refused:
        tables_of(database)
    assert refused.value.status == 423
    finish(database, 1, "ben", {"apex": [ellipse()]}, state="flagged")
    with database.reading() as session, pytest.raises(Refusal) as refused:
        film_of(session, find_image(session, image_of(database, 1)))
    assert refused.value.status == 423
    finish(database, 1, "ben", {"apex": [ellipse()]})
    found = tables_of(database)["overlap"]
    assert "1 film that all of its readers have read; 1 do not count yet" in found.footnotes[-1]
    with database.reading() as session:
        assert films_of(session, project_id(database)).left_out == {2: "0 of 2 first readings are done, 2 not finished"}


def test_a_deactivated_reader_holds_nothing_back(tmp_path: Path) -> None:
    database = project_of(tmp_path, [film_number(0)], ["anna", "ben", "carl"], AREA)
    for who in ("anna", "ben"):
        finish(database, 1, who, {"apex": [ellipse()]})
    with database.writing() as session:
        assert assignment_of(session, 1, "carl").state == "not_started"
        session.query(Reader).filter(Reader.name == "carl").one().active = False
    assert [r[0].text for r in tables_of(database)["readers_others"].groups[0].rows] == ["anna", "ben"]


def test_measures_are_remembered_while_nothing_changes(tmp_path: Path) -> None:
    database = project_of(tmp_path, [film_number(0)], ["anna", "ben"], AREA)
    for who in ("anna", "ben"):
        finish(database, 1, who, {"apex": [ellipse()]})

    def film() -> Film:
        with database.reading() as session:
            return films_of(session, project_id(database)).counted[0]

    first, same = (observations(film(), AREA) for _ in range(2))
    assert first is same
    finish(database, 1, "ben", {"apex": [ellipse() & False | np.eye(60, 50, dtype=bool)]})
    changed = observations(film(), AREA)
    assert [a.value for a in changed] != [a.value for a in first]


def test_rates_near_their_ends_have_intervals_of_rates(tmp_path: Path) -> None:
    database = project_of(tmp_path, [film_number(n) for n in range(3)], ["anna", "ben"], AREA)
    for film in range(1, 4):
        for who in ("anna", "ben"):
            finish(database, film, who, {"apex": [ellipse()]})
    found = cell(tables_of(database)["presence"], "", "Apex", "same answer, of pairs").numbers
    expected = interval(np.ones(3), list("abc"), binary=True)
    assert (found["low"], found["high"]) == (expected.low, expected.high) and expected.low < 1


def test_every_film_counts_once_for_each_pair(tmp_path: Path) -> None:
    names = ["anna", "ben", "carl", "dora"]
    database = project_of(tmp_path, [film_number(0)], names, AREA)
    for who in names:
        finish(database, 1, who, {"apex": [ellipse()]})
    rows = tables_of(database)["overlap"].groups[0].rows
    assert len(rows) == 6 + 1
    assert [r[0].text for r in rows[:3]] == [f"anna \N{EN DASH} {b}" for _, b in pairwise(names)]


@pytest.mark.parametrize("corner", [(5, 7), (0, 0), (40, 35)])
def test_rates_are_of_the_whole_film_wherever_readers_drew(tmp_path: Path, corner: tuple[int, int]) -> None:
    rng, masks = np.random.default_rng(5), {}
    for who in ("anna", "ben", "carl"):
        masks[who] = np.zeros((60, 50), bool)
        masks[who][corner[0] : corner[0] + 20, corner[1] : corner[1] + 15] = rng.random((20, 15)) < 0.7
    database = project_of(tmp_path, [film_number(0)], list(masks), AREA)
    for who, mask in masks.items():
        finish(database, 1, who, {"apex": [mask]})
    found = on_film(database)
    for who, mask in masks.items():
        others = majority([m for other, m in masks.items() if other != who])
        rates = reader_rates(mask, others)
        assert found["sensitivity", (who,)].value == rates.sensitivity
        assert found["specificity", (who,)].value == rates.specificity


def test_a_reference_that_fills_the_readers_box_still_has_a_specificity(tmp_path: Path) -> None:
    box = np.zeros((60, 50), bool)
    box[10:20, 10:20] = True
    database = project_of(tmp_path, [film_number(0)], ["anna", "ben"], AREA)
    finish(database, 1, "anna", {"apex": [box & (np.arange(50) < 15)]})
    finish(database, 1, "ben", {"apex": [box]})
    found = on_film(database)
    assert found["sensitivity", ("anna",)].value == 0.5 and found["specificity", ("anna",)].value == 1.0
    assert found["specificity", ("ben",)].value == pytest.approx(1 - 50 / (3000 - 50))
