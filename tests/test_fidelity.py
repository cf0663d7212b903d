"""A faster mode is used only where it says the same; the decision is stored, keyed and shown."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from xai_bench.classifiers.classifier import Classifier
from xai_bench.engine import Engine, Mode
from xai_bench.imputers.zero import Zero
from xai_bench.inputs import Input, Resize
from xai_bench.progress import Progress
from xai_bench.protocols import Batch
from xai_bench.reporting.mode_table import mode_tables
from xai_bench.running import fidelity
from xai_bench.running.benchmark import evaluate
from xai_bench.running.fidelity import Fidelity, agreement, best_mode, candidates, grid_probe
from xai_bench.samples import Fixed, Head
from xai_bench.study import Chosen, Given, Study
from xai_bench.testing import tiny_batch, tiny_classifier

FAST = Mode("bfloat16")


@pytest.fixture(autouse=True)
def half_as_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test depends on how fast this machine is."""
    monkeypatch.setattr(fidelity, "forward_seconds", lambda _c, engine, _s, _n: 1.0 if engine.mode == Mode() else 0.5)
    monkeypatch.setattr(fidelity, "bfloat16_unit", lambda: "AMX")


class Steep(nn.Module):
    """The mean of the upper half times a gain: with a large one, bfloat16 says something else."""

    def __init__(self, gain: float, offset: float) -> None:
        super().__init__()
        self.last = nn.Linear(1, 2)
        with torch.no_grad():
            self.last.weight.copy_(torch.tensor([[gain], [-gain]]))
            self.last.bias.copy_(torch.tensor([-offset, offset]))

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.last(x[:, :, : x.shape[2] // 2].mean((1, 2, 3))[:, None])
        return found


def steep(gain: float, offset: float) -> Classifier:
    return Classifier(Steep(gain, offset), [Head("h", ("x", "y"))], reader=Input(Resize(32, 48))).eval()


class Cells(nn.Module):
    """A weight for each of 8 x 8 cells: bfloat16 changes each cell's part by less than 1 %."""

    def __init__(self) -> None:
        super().__init__()
        self.mean = nn.Conv2d(1, 1, (4, 6), stride=(4, 6), bias=False)
        with torch.no_grad():
            self.mean.weight.fill_(1 / 24)
        self.register_buffer("weights", torch.linspace(-0.4, 0.5, 64)[torch.arange(64) * 37 % 64].view(8, 8))

    def forward(self, x: Tensor) -> Tensor:
        z = (self.mean(x)[:, 0] * self.weights).sum((1, 2))
        return torch.stack([z, -z], 1)


def cells() -> Classifier:
    return Classifier(Cells(), [Head("h", ("x", "y"))], reader=Input(Resize(32, 48))).eval()


def test_a_mode_that_says_the_same_passes() -> None:
    classifier = cells()
    mode, tried = best_mode(classifier, tiny_batch(classifier), grid_probe(Zero()), [FAST])
    assert mode == FAST and [f.passed for f in tried] == [True]
    assert (tried[0].films, tried[0].same, tried[0].speed) == (4, 4, 2.0)
    assert 0.99 <= tried[0].lowest < 1
    assert classifier.engine is None  # nothing stays behind


def test_a_mode_that_changes_maps_does_not() -> None:
    """Half of all cells do not matter; far from 0, bfloat16 rounds away what the others do."""
    classifier = steep(0.05, 40.0)
    mode, tried = best_mode(classifier, tiny_batch(classifier), grid_probe(Zero()), [FAST])
    assert mode == Mode()
    assert tried[0].lowest < 0.99


def test_the_first_that_passes_is_taken() -> None:
    classifier = cells()
    modes = [Mode("bfloat16"), Mode("float16")]
    assert best_mode(classifier, tiny_batch(classifier), grid_probe(Zero()), modes)[0] == modes[0]


@pytest.mark.parametrize(
    ("same", "lowest", "speed", "passed"),
    [(4, 0.99, 1.1, True), (3, 1.0, 2.0, False), (4, 0.9899, 2.0, False), (4, 1.0, 0.9, False)],
)
def test_all_three_conditions_count(same: int, lowest: float, speed: float, passed: bool) -> None:
    assert Fidelity(FAST, 4, same, lowest, speed).passed == passed


def test_agreement_is_the_lowest_and_constant_maps_agree() -> None:
    a = torch.rand(3, 4, 4)
    b = a.clone()
    a[1] = b[1] = 2.0
    assert agreement(a, b) == pytest.approx(1)
    b[2] = -b[2]
    assert agreement(a, b) == pytest.approx(-1)
    b[2] = 1.0  # one constant, the other not
    assert agreement(a, b) == -1


def test_the_probe_is_what_hiding_a_cell_does() -> None:
    classifier = steep(3.0, 1.0)
    batch = tiny_batch(classifier, count=2)
    found = grid_probe(Zero())(classifier, batch)
    hidden = batch.images.clone()
    hidden[:, :, 4:8, 6:12] = 0
    with torch.no_grad():
        whole, less = (classifier.probabilities(classifier(x)) for x in (batch.images, hidden))
    falls = (whole - less).gather(1, batch.targets[:, None])[:, 0]
    assert torch.allclose(found[:, 1, 1], falls, atol=1e-6)
    assert (found[:, 4:] == 0).all()


def test_candidates_name_compiled_modes_only_when_asked() -> None:
    classifier = tiny_classifier()
    assert candidates(classifier, False) == [FAST]
    assert candidates(classifier, True) == [Mode("bfloat16", True), Mode("float32", True)]


@dataclass(frozen=True)
class Probe:
    """An explainer on the engine."""

    family: ClassVar[str] = "perturbation"
    evaluations: ClassVar[int] = 65

    def __call__(self, classifier: Classifier, batch: Batch) -> Tensor:
        return grid_probe(Zero())(classifier, batch)


@dataclass(frozen=True)
class Direct:
    """Calls the model by itself, many times."""

    evaluations: ClassVar[int] = 2

    def __call__(self, classifier: Classifier, batch: Batch) -> Tensor:
        with torch.no_grad():
            return classifier(batch.images).gather(1, batch.targets[:, None])[:, :, None] * batch.images[:, 0]


def study(films: Fixed, classifier: Classifier, precision: str) -> Study:
    explainers = (Chosen(Probe(), "probe"), Chosen(Direct(), "direct"), "grad_cam")
    return Study(
        "s", films, (Given("g", classifier),), explainers, ("relevance_mass",), precision=precision, batch_size=8
    )  # type: ignore[arg-type]  # a parameter of the test


def test_a_study_with_auto_says_which_mode_ran(side_films: Fixed, side_classifier: Classifier, tmp_path: Path) -> None:
    exact = evaluate(study(side_films, side_classifier, "float32"), store=tmp_path, progress=Progress(quiet=True))
    run = evaluate(study(side_films, side_classifier, "auto"), store=tmp_path, progress=Progress(quiet=True))
    modes = run.rows.groupby("explainer").agg({"mode": "unique"})["mode"].map(list).to_dict()
    assert modes["direct"] == modes["grad_cam"] == ["float32"]
    (check,) = run.modes.to_dict("records")
    assert (check["method"], check["mode"], check["films"]) == ("probe", "bfloat16", 4)
    assert modes["probe"] == (["bfloat16"] if check["passed"] else ["float32"])
    assert set(exact.rows["mode"]) == {"float32"} and exact.modes.empty
    cost = run.costs[run.costs.kind == "modes"].set_index("explainer").evaluations
    # Direct calls the model by itself: two films' batches are tried, and nothing else.
    assert cost["probe"] > cost["direct"] > 0 and "modes" not in set(exact.costs.kind)
    assert mode_tables(exact) == []
    (table,) = mode_tables(run)
    assert [c.text for c in table.groups[0].rows[0]][:2] == ["probe", "bfloat16"]
    again = evaluate(study(side_films, side_classifier, "auto"), store=tmp_path, progress=Progress(quiet=True))
    pd.testing.assert_frame_equal(again.modes, run.modes)
    assert side_classifier.engine is None


def test_a_given_mode_is_used_without_a_check(side_films: Fixed, side_classifier: Classifier, tmp_path: Path) -> None:
    run = evaluate(study(side_films, side_classifier, "bfloat16"), store=tmp_path, progress=Progress(quiet=True))
    assert run.rows.groupby("explainer")["mode"].unique().map(list).to_dict() == {
        "probe": ["bfloat16"], "direct": ["float32"], "grad_cam": ["float32"],
    }  # fmt: skip
    assert run.modes.empty


def test_the_engine_s_own_mode_is_put_back() -> None:
    classifier = tiny_classifier()
    classifier.engine = Engine(Mode("bfloat16"), batch_size=8)
    best_mode(classifier, tiny_batch(classifier), grid_probe(Zero()), [FAST])
    assert classifier.engine.mode == Mode("bfloat16")
