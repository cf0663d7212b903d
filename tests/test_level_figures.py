"""Bars of vertebrae are the means of the maps on them; twins are dots; order follows the spine."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytest
from conftest import small_film
from torch import Tensor

from xai_bench.anatomy import anatomy_of
from xai_bench.classifiers.classifier import Classifier
from xai_bench.progress import Progress
from xai_bench.protocols import Anatomy, Batch
from xai_bench.reporting.level_figures import REST, level_figure, level_figures, level_order, relevance
from xai_bench.running.benchmark import evaluate
from xai_bench.running.run import Run
from xai_bench.samples import Fixed, Sample
from xai_bench.study import Chosen, Given, Study


@dataclass(frozen=True)
class ByPlayer:
    """Each pixel's label, plus the number of the target; half as fine as the film where `coarse`."""

    coarse: bool = False
    needs_players: ClassVar[bool] = True
    upsampling: ClassVar[str] = "nearest"

    def __call__(self, classifier: Classifier, batch: Batch) -> Tensor:
        assert batch.players is not None
        found = batch.players.labels.float() + 100 * batch.targets[:, None, None]
        return found[:, ::2, ::2] if self.coarse else found


@dataclass(frozen=True)
class Blind:
    """Asks for no players."""

    def __call__(self, classifier: Classifier, batch: Batch) -> Tensor:
        return batch.images[:, 0]


def spine(first: int) -> Anatomy:
    """Two vertebrae, from rows 4 and 12 on, and the disc between them; `first` names the upper one."""
    boxes = [[[8.0, y], [20.0, y], [8.0, y + 6], [20.0, y + 6]] for y in (4.0, 12.0)]
    return anatomy_of(np.array(boxes), [f"L{first}", f"L{first + 1}"], (32, 32))


def film(number: int) -> Sample:
    """Without marks where the number is 35, else with vertebrae from L1 or L2 on."""
    return replace(small_film(number), read_players=lambda: None if number == 35 else spine(1 + number % 2))


@pytest.fixture
def run(side_classifier: Classifier, tmp_path: Path) -> Run:
    films = Fixed(
        {"train": (), "validation": (), "test": tuple(film(n) for n in range(32, 40))},
        side_classifier.heads, {"side": ("left", "right")}, ("square",),
    )  # fmt: skip
    explainers = (Chosen(ByPlayer(), "own"), Chosen(ByPlayer(coarse=True), "coarse"), Chosen(Blind(), "blind"))
    study = Study("levels", films, (Given("given", side_classifier),), explainers, batch_size=4)
    return evaluate(study, store=tmp_path, progress=Progress(quiet=True))


def test_relevance_is_the_mean_of_the_map_on_each_player(run: Run) -> None:
    for chosen in run.study.explainers[:2]:
        found = relevance(run, chosen)
        assert found.picture.nunique() == 7  # one has no marks
        for (picture, target), own in found.groupby(["picture", "target"]):
            number = int(picture[-3:])
            assert target == ("left", "right")[number % 2]  # the film's label
            names = [f"L{1 + number % 2}", f"L{1 + number % 2}-L{2 + number % 2}", f"L{2 + number % 2}"]
            values = dict(zip(own.player, own.value, strict=True))
            labels = dict(zip([REST, *names], (0, 1, 2, 3), strict=True))
            assert values == {name: label + 100 * (number % 2) for name, label in labels.items()}


def test_methods_that_explain_by_players_have_a_figure_and_repeat_runs_none(run: Run) -> None:
    again = replace(run.study, explainers=(*run.study.explainers, Chosen(ByPlayer(), "own#2", None, "own")))
    assert list(level_figures(replace(run, study=again))) == ["levels_own", "levels_coarse"]
    assert level_figures(replace(run, maps={})) == {}


def values(**means: dict[str, tuple[float, ...]]) -> pd.DataFrame:
    """Classifier -> player -> each twin's value, on two films whose values lie 1 below and above."""
    rows: list[dict[str, Any]] = [
        {"classifier": name, "replicate": n, "target": "bent", "picture": f"film-{shift}", "player": player,
         "value": value + shift}
        for name, own in means.items() for player, twins in own.items() for n, value in enumerate(twins)
        for shift in (-1, 1)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_bars_are_means_over_twins_from_the_neck_down_and_dots_the_twins() -> None:
    made = {"L1": (1.0, 2.0), "T12": (4.0, 6.0), "T12-L1": (-1.0, -2.0), REST: (8.0, 10.0)}
    figure = level_figure("lime", values(honest=made, cheat={"L1": (0.5,), REST: (-0.25,)}))
    honest, cheat = figure.axes
    assert [t.get_text() for t in honest.get_yticklabels()] == ["T12", "", "L1"]
    assert [bar.get_width() for bar in honest.patches] == [5.0, -1.5, 1.5]
    assert [bar.get_alpha() for bar in honest.patches] == [1.0, 0.4, 1.0]
    dots = [line.get_xdata().tolist() for line in honest.get_lines() if line.get_marker() == "o"]
    assert dots == [[4.0, -1.0, 1.0], [6.0, -2.0, 2.0]]
    assert [bar.get_width() for bar in cheat.patches] == [0.0, 0.0, 0.5]  # the same places
    assert not [line for line in cheat.get_lines() if line.get_marker() == "o"]
    assert honest.get_title(loc="left") == "honest, bent (n 2)\nrest of the film 9"
    assert cheat.get_title(loc="left").endswith("rest of the film \N{MINUS SIGN}0.25")


def test_each_explained_class_has_its_row_and_the_rarest_none() -> None:
    one = values(honest={"L1": (1.0,)})
    films = (["a", "b"], ["a", "b"], ["a", "a"], ["a", "b"])
    parts = [one.assign(target=f"class {n}", picture=pictures) for n, pictures in enumerate(films)]
    figure = level_figure("lime", pd.concat(parts))
    assert [axes.get_title(loc="left") for axes in figure.axes] == [f"honest, class {n} (n 2)" for n in (0, 1, 3)]


def test_levels_are_ordered_as_in_the_body() -> None:
    names = ["S1", "L5-S1", "L5", "C7-T1", "T1", "T12-L1", "L1", "C7", "T12", "T2"]
    assert level_order(names[::-1]) == ["C7", "C7-T1", "T1", "T2", "T12", "T12-L1", "L1", "L5", "L5-S1", "S1"]
    assert level_order(["sacrum", "L1", "dens"]) == ["L1", "sacrum", "dens"]
