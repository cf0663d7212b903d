"""The classifiers of a study: gray films among color ones, an empty validation split, disjoint training data."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import HEADS, small_film

from xai_bench.classifiers.classifier import Classifier
from xai_bench.classifiers.small_cnn import SmallCNN
from xai_bench.classifiers.training import Training, label_rows
from xai_bench.errors import BadInput
from xai_bench.inputs import Input, Resize
from xai_bench.progress import Progress
from xai_bench.running.benchmark import evaluate
from xai_bench.running.models import by_content, samples_by_split
from xai_bench.samples import Fixed, Head, Sample
from xai_bench.study import Study, Trained

QUIET = Progress(quiet=True)
SMALL = Training(epochs=1, batch_size=4)


def colored(sample: Sample) -> Sample:
    gray = sample.read_image()
    return replace(sample, read_image=lambda: np.dstack([gray, gray // 2, gray]), digest=f"color-{sample.digest}")


def study(splits: Mapping[str, tuple[Sample, ...]], **changes: object) -> Study:
    small = Trained("small", SmallCNN(width=8), SMALL)
    values = {"name": "small", "dataset": Fixed(splits, HEADS), "classifiers": (small,), "batch_size": 4,
              "reader": Input(Resize(32, 32))}  # fmt: skip
    return Study(**(values | changes))  # type: ignore[arg-type]  # the test chooses


def films(*numbers: int) -> tuple[Sample, ...]:
    return tuple(small_film(n) for n in numbers)


def test_gray_films_among_color_ones_keep_every_bit(tmp_path: Path) -> None:
    gray = films(40, 41, 42, 43)
    mixed = (gray[0], colored(gray[1]), gray[2], colored(gray[3]))
    train = (*films(*range(8)), *map(colored, films(*range(8, 16))))
    splits = {"train": train, "validation": films(20, 22), "test": mixed}
    run = evaluate(study(splits), store=tmp_path, progress=QUIET)
    assert set(run.predictions.status) == {"ok"}
    same = evaluate(study(splits | {"test": gray}), store=tmp_path, progress=QUIET)
    first, second = (r.predictions.set_index("picture").confidence for r in (run, same))
    for n, sample in enumerate(gray):
        assert (first[sample.id] == second[sample.id]) == (n % 2 == 0)


def test_a_gray_film_in_three_equal_channels_is_the_gray_film(side_classifier: Classifier) -> None:
    images = torch.rand(4, 1, 32, 32)
    assert torch.equal(side_classifier.normalize(images.expand(-1, 3, -1, -1)), side_classifier.normalize(images))
    color = torch.rand(4, 3, 32, 32)
    assert torch.allclose(side_classifier.normalize(color), color.mean(1, keepdim=True))


def test_an_empty_validation_split_is_fine_without_patience(tmp_path: Path) -> None:
    splits = {"train": films(*range(8)), "validation": (), "test": films(40, 42)}
    run = evaluate(study(splits), store=tmp_path, progress=QUIET)
    assert len(run.predictions) == 2
    waiting = Trained("small", SmallCNN(width=8), replace(SMALL, patience=1))
    with pytest.raises(BadInput, match="0 validation pictures"):
        evaluate(study(splits, classifiers=(waiting,)), store=tmp_path, progress=QUIET)
    two = [Head("a", ("x", "y")), Head("b", ("u", "v"), "sigmoid")]
    assert label_rows(two, []).shape == (0, 3) and label_rows(two, []).dtype == torch.long


def test_patients_of_the_test_split_may_not_train_a_classifier(tmp_path: Path) -> None:
    splits = {"train": films(*range(8)), "validation": films(20), "test": films(40, 42)}
    other = Fixed({"train": films(*range(36, 44)), "validation": (), "test": ()}, HEADS)
    seen = Trained("seen", SmallCNN(width=8), SMALL, dataset=other)
    with pytest.raises(BadInput, match="2 patients of the study's test split are in a classifier's own training data"):
        evaluate(study(splits, classifiers=(seen,)), store=tmp_path, progress=QUIET)


def test_an_id_twice_and_a_split_without_films_are_refused(tmp_path: Path) -> None:
    twice = Fixed({"train": films(1, 1), "validation": (), "test": ()}, HEADS)
    with pytest.raises(BadInput, match="split 'train' has 2 samples but only 1 ids"):
        samples_by_split(twice)
    with pytest.raises(BadInput, match="split 'test' of the dataset holds no film"):
        evaluate(study({"train": films(1, 3), "validation": (), "test": ()}), store=tmp_path, progress=QUIET)


def test_weights_stand_in_a_key_by_content_and_not_by_path(tmp_path: Path) -> None:
    def spec(folder: str, text: str) -> Any:
        (tmp_path / folder / "stem").mkdir(parents=True, exist_ok=True)
        (tmp_path / folder / "w.pth").write_text(text)
        (tmp_path / folder / "stem" / "card.json").write_text(text)
        fields = {"weights": str(tmp_path / folder / "w.pth"), "stem": str(tmp_path / folder / "stem"), "width": 32}
        return by_content({"name": "net", "fields": fields})

    assert spec("a", "one") == spec("b", "one") != spec("c", "two")
    assert spec("a", "one")["fields"]["width"] == 32
    assert by_content(["none", "no/such.file"]) == ["none", "no/such.file"]


def test_the_code_of_one_s_own_model_is_part_of_its_identity(
    side_classifier: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = side_classifier.identity()
    assert side_classifier.identity() == before
    monkeypatch.setattr("xai_bench.classifiers.classifier.code_version", lambda thing: f"edited {thing.__name__}")
    assert side_classifier.identity() != before
