"""Twins side by side: who is shown, what is said of them, and maps that are small but the same."""

import base64
import io
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from synthetic_run import SyntheticRun, synthetic_run

from xai_bench.reporting import overlay
from xai_bench.reporting.html import polarity
from xai_bench.reporting.twin_gallery import SIDE, TWINS, TwinTable, explained_class, twin_tables
from xai_bench.study import Target


@pytest.fixture(scope="module")
def run() -> SyntheticRun:
    return synthetic_run(patients=4, twins=3)


def tables(run: SyntheticRun) -> list[tuple[TwinTable, ...]]:
    return twin_tables(run, run.items, polarity(run, run.items))  # type: ignore[arg-type]


def test_three_films_every_classifier_every_twin_every_method(run: SyntheticRun) -> None:
    found = tables(run)
    assert len(found) == 3 and all([t.classifier for t in film] == ["honest", "cheating"] for film in found)
    honest, cheating = found[0]
    assert [c.replicate for c in honest.columns] == [0, 1, 2] and honest.more == 0
    assert [name for name, _ in honest.rows] == ["grad_cam", "lime", "shap_partition", "attention_rollout"]
    assert [name for name, _ in cheating.rows] == ["grad_cam", "lime", "shap_partition"]  # the fourth does not fit it
    assert all(len(panels) == 3 for _, panels in honest.rows)


def test_a_column_says_the_twins_accuracy_and_what_it_predicts(run: SyntheticRun) -> None:
    for film, item in zip(tables(run), run.items, strict=False):
        for table in film:
            for column in table.columns:
                mine = run.predictions[
                    (run.predictions.classifier == table.classifier) & (run.predictions.replicate == column.replicate)
                ]
                assert column.accuracy == f"{(mine.label == mine.prediction).mean():.2f}"
                (said,) = [r for r in item.rows if r[:2] == (table.classifier, column.replicate)]
                assert (column.prediction, column.confidence, column.right) == (*said[2:4], said[2] == item.label)
    unread = replace(run, predictions=run.predictions.assign(status="invalid"))
    assert tables(unread)[0][0].columns[0].accuracy == "\N{EM DASH}"


def test_a_map_that_one_twin_lacks_is_said_to_be_missing(run: SyntheticRun) -> None:
    item = run.items[0]
    rows = [(*row[:4], {n: m for n, m in row[4].items() if (n, row[1]) != ("lime", 1)}) for row in item.rows]
    found = tables(replace(run, items=[replace(item, rows=rows)]))[0][0]
    panels = dict(found.rows)["lime"]
    assert [p.note for p in panels] == ["signed", "no map", "signed"] and not panels[1].uri


def test_many_twins_are_counted_and_a_classifier_without_twins_is_left_out() -> None:
    run = synthetic_run(patients=1, twins=TWINS + 2)
    item = run.items[0]
    alone = [row for row in item.rows if row[0] == "honest" or row[1] == 0]
    (table,) = tables(replace(run, items=[replace(item, rows=alone[::-1])]))[0]
    assert [c.replicate for c in table.columns] == list(range(TWINS)) and table.more == 2
    assert tables(synthetic_run(patients=1, twins=1)) == []


def test_maps_are_drawn_small_and_one_without_information_stays_transparent(run: SyntheticRun) -> None:
    item = run.items[0]
    large = np.zeros((4 * SIDE, 2 * SIDE), np.float32)
    large[: 2 * SIDE] = 3.0
    maps = {"half": large, "flat": np.full_like(large, 0.7), "small": large[::8, ::8].copy()}
    made = replace(item, rows=[("honest", n, "normal", 0.5, maps) for n in range(2)])
    (table,) = twin_tables(run, [made], dict.fromkeys(maps, False))[0]  # type: ignore[arg-type]
    panels = {name: panels[0] for name, panels in table.rows}
    alpha = {}
    for name, panel in panels.items():
        data = base64.b64decode(panel.uri.removeprefix("data:image/png;base64,"))
        alpha[name] = np.asarray(Image.open(io.BytesIO(data)).convert("RGBA"))[..., 3]
    assert {name: a.shape for name, a in alpha.items()} == {
        "half": (SIDE, SIDE // 2), "flat": (4 * SIDE, 2 * SIDE), "small": (SIDE // 2, SIDE // 4),
    }  # fmt: skip
    assert (alpha["half"][: SIDE // 2] == round(255 * overlay.FAINT)).all() and not alpha["half"][SIDE // 2 :].any()
    assert not alpha["flat"].any() and panels["flat"].note == "constant"


@pytest.mark.parametrize(
    ("target", "said"),
    [(None, "the film's label where that is a finding, else what the twin predicts"),
     (Target("predicted"), "what the twin predicts"), (Target("label"), "the film's label"),
     (Target("scoliosis"), "scoliosis")],
)  # fmt: skip
def test_the_explained_class_is_told(target: Target | None, said: str) -> None:
    assert explained_class(SimpleNamespace(study=SimpleNamespace(target=target))) == said  # type: ignore[arg-type]
