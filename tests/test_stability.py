"""What `xai-bench stability` adds to a study."""

import pytest

from xai_bench.cli.stability import SUMMARIES, stability_study
from xai_bench.errors import BadInput
from xai_bench.study import Checkpoint, Study, Trained

EXPLAINERS = ["grad_cam", {"name": "lime", "seed": 3}, "random_map"]


def study(**fields: object) -> Study:
    classifiers = [Trained("m", "small_cnn"), Checkpoint("given", "folder")]
    return Study(**{"name": "s", "dataset": "phantom", "classifiers": classifiers, "explainers": EXPLAINERS} | fields)  # type: ignore[arg-type]  # plain values by name


def test_classifiers_get_twins_and_what_cannot_be_trained_stays() -> None:
    trained, given = stability_study(study(), 4).classifiers
    assert trained.seeds == (0, 1, 2, 3) and given == Checkpoint("given", "folder")


def test_seeds_of_the_study_come_first() -> None:
    entry = Trained("m", "small_cnn", seeds=(7, 1))
    assert stability_study(study(classifiers=[entry]), 4).classifiers[0].seeds == (7, 1, 0, 2)


@pytest.mark.parametrize("fields", [{"folds": 3}, {"resamples": 3}, {"seeds": (1, 2, 3, 4, 5, 6)}])
def test_twins_that_are_asked_for_are_kept(fields: dict[str, object]) -> None:
    entry = Trained("m", "small_cnn", **fields)  # type: ignore[arg-type]  # plain values by name
    asked = study(classifiers=[entry])
    assert stability_study(asked, 5).classifiers == asked.classifiers


def test_only_methods_that_draw_at_random_are_run_twice_and_with_another_seed() -> None:
    found = {c.label: c for c in stability_study(study(), 2).explainers}
    assert list(found) == ["grad_cam", "lime", "lime#2", "random_map"]
    assert (found["lime"].plugin.seed, found["lime#2"].plugin.seed, found["lime#2"].repeat_of) == (3, 4, "lime")


def test_summaries_and_metrics_are_added_once() -> None:
    once = stability_study(study(summaries=["mege_reco"], metrics=["pixel_ranking"]), 3)
    again = stability_study(once, 3)
    names = [s.xai_bench_name for s in again.summaries]
    assert sorted(names) == sorted(SUMMARIES)
    assert [m.label for m in again.metrics] == ["pixel_ranking", "cascading_randomization"]
    assert [c.label for c in again.explainers] == [c.label for c in once.explainers]


def test_a_stability_study_survives_its_file() -> None:
    asked = stability_study(study(), 3)
    assert Study.of(asked.spec()).key == asked.key


def test_a_study_without_training_is_one_clear_sentence() -> None:
    with pytest.raises(BadInput, match="trains no classifier, so nothing can be retrained; give one"):
        stability_study(study(classifiers=[Checkpoint("given", "folder")]))


def test_one_twin_is_no_comparison() -> None:
    with pytest.raises(BadInput, match="twins is 1; expected 2 or more"):
        stability_study(study(), 1)
