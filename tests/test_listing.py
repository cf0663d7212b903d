"""Which family a metric belongs to, and what a table says of an explainer."""

from dataclasses import dataclass
from typing import Any, ClassVar

import pytest

from xai_bench.listing import BY_FIELDS, EXPLAINER_COLUMNS, FAMILIES, explainer_row, family_of, in_short
from xai_bench.registry import EXPLAINERS, Entry


@dataclass(frozen=True)
class Aligned:
    needs_region: ClassVar[bool] = True


@dataclass(frozen=True)
class Alone:
    needs_region: ClassVar[bool] = False


@dataclass(frozen=True)
class Asking(Alone):
    evaluations: ClassVar[int] = 9


@dataclass(frozen=True)
class Noisy(Asking):
    family: ClassVar[str] = "stability"


@pytest.mark.parametrize(
    ("metric", "family"),
    [(Aligned(), "localization"), (Asking(), "faithfulness"), (Noisy(), "stability"), (Alone(), "complexity")],
)
def test_a_metric_says_its_family_or_it_follows_from_what_it_looks_at(metric: Any, family: str) -> None:
    assert family_of(metric) == family
    assert family in FAMILIES


@dataclass(frozen=True)
class Method:
    samples: int = 7
    signed: bool = False
    needs_gradients: ClassVar[bool] = True
    works_with: ClassVar[str] = "CNNs"

    @property
    def class_specific(self) -> bool:
        raise AssertionError("a table must not need an instance for this")

    @property
    def evaluations(self) -> int:
        return 3 * self.samples


def test_an_explainer_s_row_comes_from_its_class_and_its_default_fields() -> None:
    row = explainer_row(Entry("explainer", "method", Method, "Doe 2026"))
    assert row == ("other", BY_FIELDS, "no", "yes", "CNNs", "21", "Doe 2026")
    assert len(row) == len(EXPLAINER_COLUMNS)
    assert in_short(row) == "other; class-specific by fields; not signed; gradients; CNNs; evaluations: 21"


def test_every_explainer_has_a_row_and_controls_that_do_not_ask_the_model_cost_nothing() -> None:
    rows = {name: dict(zip(EXPLAINER_COLUMNS, explainer_row(entry), strict=True)) for name, entry in EXPLAINERS.items()}
    for name, row in rows.items():
        assert all(row[column] for column in EXPLAINER_COLUMNS[:-1]), name
    free = {"random_map", "smooth_random", "canny", "edge_map", "center_gaussian", "mean_region", "other_patient_map"}
    assert {name for name in free | {"precomputed"} if rows[name]["evaluations"] != "0"} == set()
    assert rows["grad_cam"]["gradients"] == "yes"
    assert rows["attention_rollout"]["works with"].startswith("transformers")
    assert rows["blurred"]["signed"] == rows["captum"]["family"] == BY_FIELDS
