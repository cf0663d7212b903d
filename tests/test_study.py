"""Studies: TOML in, spec out and back, every unknown key an error with a suggestion."""

from pathlib import Path

import pytest

from xai_bench.errors import BadInput, UnknownName
from xai_bench.study import Chosen, Study

TEXT = """
name = "small"
dataset = "phantom"
explainers = ["center_gaussian", {name = "random_map", seed = 3, label = "random3", pictures = 4}]
metrics = ["iou", {name = "deletion", steps = 8, imputer = {name = "blur", sigma = 4}}]
reader = {resize = {height = 64, width = 64}}
batch_size = 4

[[classifiers]]
name = "mine"
architecture = "small_cnn"
seeds = [0, 1]
training = {epochs = 1}
"""


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "study.toml"
    path.write_text(text)
    return path


def test_a_study_comes_back_from_its_spec(tmp_path: Path) -> None:
    study = Study.read(written(tmp_path, TEXT))
    assert [c.label for c in study.explainers] == ["center_gaussian", "random3"]
    assert study.explainers[1].pictures == 4 and study.explainers[1].plugin.seed == 3
    assert study.metrics[1].plugin.imputer.sigma == 4.0
    assert study.reader.resize.height == 64
    again = Study.of(study.spec())
    assert again == study and again.key == study.key


def test_the_key_changes_with_any_field(tmp_path: Path) -> None:
    a = Study.read(written(tmp_path, TEXT))
    b = Study.read(written(tmp_path, TEXT.replace("sigma = 4", "sigma = 5")))
    assert a.key != b.key


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("batch_size", "batchsize", "study key 'batchsize' is unknown; .* Did you mean 'batch_size'"),
        ("seed = 3", "sed = 3", "unknown field 'sed'.* Did you mean 'seed'"),
        ("sigma = 4", "sigmaa = 4", "unknown field 'sigmaa'"),
        ('"blur"', '"blurr"', "imputer 'blurr' is not known. Did you mean 'blur'"),
        ('"phantom"', '"fantom"', "dataset 'fantom' is not known. Did you mean 'phantom'"),
        ('"small_cnn"', '"small_cn"', "classifier 'small_cn' is not known. Did you mean"),
        ("epochs = 1", "epoch = 1", "unknown field 'epoch'.* Did you mean 'epochs'"),
        ("epochs = 1", 'epochs = "many"', "field 'epochs': 'many' is not valid"),
        ("pictures = 4", "pictures = 0", "expected a whole number of at least 1"),
        ("batch_size = 4", "batch_size = 0", "batch_size is 0; expected 1 or more"),
        ('label = "random3"', 'label = "center_gaussian"', "two explainers are called 'center_gaussian'"),
        ("pictures = 4", "repeats = 0", "repeats = 0; expected a whole number of at least 1"),
        ('dataset = "phantom"', "", "has no 'dataset'; add it"),
        ('architecture = "small_cnn"', "", "neither `architecture` nor `checkpoint`"),
        ("steps = 8", "steps = 8,,", "is not readable TOML"),
        ("pictures = 4", "repeats = 100000000000", "repeats = 100000000000; expected at most 1,000"),
        (
            'architecture = "small_cnn"',
            'architecture = "small_cnn"\nfolds = 100000000000',
            "twins; expected at most 1,000",
        ),
        (
            "batch_size = 4",
            'references = [["derived"]]',
            r"study key 'references' holds \['derived'\]; expected strings",
        ),
        ("batch_size = 4", "regions = " + 2000 * "[" + 2000 * "]", "is not readable TOML"),
    ],
)
def test_mistakes_are_one_clear_sentence(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in TEXT
    with pytest.raises((BadInput, UnknownName), match=message):
        Study.read(written(tmp_path, TEXT.replace(old, new)))


def test_a_missing_file_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"does not exist; name a \.toml file"):
        Study.read(tmp_path / "none.toml")


def test_instances_are_accepted_as_they_are() -> None:
    from xai_bench.registry import EXPLAINERS

    plugin = EXPLAINERS["center_gaussian"].factory()
    study = Study("s", "phantom", [{"name": "m", "architecture": "small_cnn"}], [plugin, Chosen(plugin, "again")])  # type: ignore[arg-type]  # names are accepted
    assert study.explainers[0].plugin is plugin


def test_repeats_of_an_explainer_have_their_own_seed_and_label() -> None:
    asked = [{"name": "random_map", "seed": 5, "pictures": 3, "repeats": 3}, {"name": "edge_map", "repeats": 2}]
    study = Study("s", "phantom", [{"name": "m", "architecture": "small_cnn"}], asked)
    found = [(c.label, getattr(c.plugin, "seed", None), c.repeat_of, c.pictures) for c in study.explainers]
    assert found == [
        ("random_map", 5, "", 3), ("random_map#2", 6, "random_map", 3), ("random_map#3", 7, "random_map", 3),
        ("edge_map", None, "", None), ("edge_map#2", None, "edge_map", None),
    ]  # fmt: skip
    assert Study.of(study.spec()).key == study.key


def test_metrics_are_not_repeated() -> None:
    with pytest.raises(BadInput, match="only explainers are repeated"):
        Study("s", "phantom", [{"name": "m", "architecture": "small_cnn"}], [], [{"name": "iou", "repeats": 2}])
