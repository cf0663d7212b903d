"""Where memory runs out, the batch halves down to one picture; then the cell failed, and the run goes on."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest
import torch
from backend_cases import QUIET
from torch import Tensor, nn

from xai_bench.classifiers.classifier import Classifier
from xai_bench.engine import Engine, OutOfMemory, out_of_memory
from xai_bench.protocols import Batch, Case, Result, ScoreInfo
from xai_bench.running.benchmark import evaluate
from xai_bench.running.run import Run
from xai_bench.samples import Fixed
from xai_bench.store.store import Store
from xai_bench.study import Chosen, Given, Study


def room_for(room: int, count: int) -> None:
    """As torch says it on a CPU."""
    if count > room:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 4 TB.")


@dataclass(frozen=True)
class Gray:
    """The picture itself, where there is room for it."""

    room: int = 100

    def __call__(self, classifier: Classifier, batch: Batch) -> Tensor:
        room_for(self.room, len(batch))
        return batch.images.mean(1)


@dataclass(frozen=True)
class Brightest:
    """The map's largest value, where there is room for it."""

    room: int = 100
    needs_region = False
    scores = {"value": ScoreInfo("higher")}  # noqa: RUF012 - a class's own

    def __call__(self, case: Case) -> Result:
        room_for(self.room, len(case.batch))
        return Result({"value": case.saliency.flatten(1).amax(1)}, (None,) * len(case.batch))


class Narrow(nn.Module):
    """A model with room for so many pictures."""

    def __init__(self, inner: nn.Module, room: int) -> None:
        super().__init__()
        self.inner, self.room = inner, room

    def forward(self, x: Tensor) -> Tensor:
        room_for(self.room, len(x))
        found: Tensor = self.inner(x)
        return found


def scored(films: Fixed, classifier: Classifier, store: Path, explainer: object, metric: object) -> Run:
    study = Study(
        "oom", films, (Given("net", classifier),), (Chosen(explainer, "gray"), Chosen(Gray(), "roomy")),
        (Chosen(metric, "brightest"),), batch_size=8,
    )  # fmt: skip
    return evaluate(study, store=store, progress=QUIET)


def receipts(store: Path, kind: str) -> list[dict[str, object]]:
    kept = Store(store)
    return [dict(cell.receipt) for key in kept.cells(kind) if (cell := kept.get(kind, key))]


@pytest.mark.parametrize("room", [1, 3, 5])
def test_half_the_batch_gives_the_same_maps_and_scores_and_is_recorded(
    side_films: Fixed, side_classifier: Classifier, tmp_path: Path, room: int
) -> None:
    roomy = scored(side_films, side_classifier, tmp_path / "roomy", Gray(), Brightest())
    narrow = scored(side_films, side_classifier, tmp_path / "narrow", Gray(room), Brightest(room))
    pd.testing.assert_frame_equal(roomy.rows, narrow.rows)
    left = {1: 1, 3: 2, 5: 4}[room]
    maps = receipts(tmp_path / "narrow", "maps")
    halved = {1: 3, 2: 2, 4: 1}[left]
    assert sorted((r.get("batch_size", 8), r.get("halved", 0)) for r in maps) == [(left, halved), (8, 0)]
    assert all(r["batch_size"] == left for r in receipts(tmp_path / "narrow", "scores"))
    assert not any("halved" in r for r in receipts(tmp_path / "roomy", "maps"))


def test_predictions_halve_too(side_films: Fixed, side_classifier: Classifier, tmp_path: Path) -> None:
    narrow = Classifier(Narrow(side_classifier.model, 3), side_classifier.heads, reader=side_classifier.reader)
    run = scored(side_films, narrow, tmp_path / "a", Gray(), Brightest())
    whole = scored(side_films, side_classifier, tmp_path / "b", Gray(), Brightest())
    assert run.predictions.confidence.tolist() == pytest.approx(whole.predictions.confidence.tolist(), rel=1e-5)
    assert receipts(tmp_path / "a", "predictions")[0]["batch_size"] == 2


def test_one_picture_that_is_too_much_fails_its_method_only(
    side_films: Fixed, side_classifier: Classifier, tmp_path: Path
) -> None:
    rows = scored(side_films, side_classifier, tmp_path, Gray(0), Brightest()).rows
    assert rows[rows.explainer == "gray"].status.tolist() == ["failed"]
    assert rows[rows.explainer == "gray"].reason.tolist() == [
        "OutOfMemory: one picture at a time still needs more than there is"
    ]
    assert set(rows[rows.explainer == "roomy"].status) == {"ok"}


def test_a_classifier_that_is_too_large_is_reported(
    side_films: Fixed, side_classifier: Classifier, tmp_path: Path
) -> None:
    from xai_bench.errors import BadInput

    large = Classifier(Narrow(side_classifier.model, 0), side_classifier.heads, reader=side_classifier.reader)
    with pytest.raises(BadInput, match="no classifier of the study can be used: OutOfMemory"):
        scored(side_films, large, tmp_path, Gray(), Brightest())
    study = Study("two", side_films, (Given("large", large), Given("net", side_classifier)), (Chosen(Gray(), "gray"),),
                  (Chosen(Brightest(), "brightest"),), batch_size=8)  # fmt: skip
    rows = evaluate(study, store=tmp_path, progress=QUIET).rows
    assert rows[rows.classifier == "large"].status.tolist() == ["failed"]
    assert set(rows[rows.classifier == "net"].status) == {"ok"}


def test_only_memory_makes_an_engine_try_again() -> None:
    engine = Engine(batch_size=4)
    with pytest.raises(RuntimeError, match="shapes"):
        list(engine.in_batches([1], lambda part, size: (_ for _ in ()).throw(RuntimeError("shapes"))))
    engine.make_room(MemoryError())
    assert (engine.batch_size, engine.halved) == (2, 1)
    with pytest.raises(OutOfMemory) as caught:
        engine.make_room(OutOfMemory("in an engine of its own"))  # who had one picture only is not asked again
    assert out_of_memory(caught.value) and engine.batch_size == 2


def test_parts_are_as_long_as_the_batch_and_in_order() -> None:
    engine, seen = Engine(batch_size=4), []

    def work(part: list[int], size: int) -> list[int]:
        seen.append((len(part), size))
        if size > 2 and 5 in part:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return part

    assert [n for part in engine.in_batches(list(range(9)), work) for n in part] == list(range(9))
    assert seen == [(4, 4), (4, 4), (2, 2), (2, 2), (1, 2)]
