"""The generated pages say what is registered."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from xai_bench.listing import EXPLAINER_COLUMNS, FAMILIES, family_of
from xai_bench.registry import EXPLAINERS, METRICS

ROOT = Path(__file__).parents[1]


def docs_make() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_make", ROOT / "docs" / "make.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", docs_make().PAGES)
def test_the_page_is_up_to_date(name: str) -> None:
    assert (ROOT / "docs" / name).read_text() == docs_make().PAGES[name](), "run `make docs`"


def test_every_metric_has_one_family_and_stands_in_the_page() -> None:
    page = docs_make().metrics()
    places = {family: page.index(f"## {family.capitalize()}") for family in FAMILIES}
    for name, entry in METRICS.items():
        if entry.factory.__module__.startswith("xai_bench"):
            found = page.index(f"### `{name}`")
            assert max((f for f in places if places[f] < found), key=places.__getitem__) == family_of(entry.factory())


def test_a_metric_s_cost_says_what_is_counted() -> None:
    costs = dict(re.findall(r"### `(\w+)`\n.*?Cost: (.*?)\.", docs_make().metrics(), re.DOTALL))
    assert costs["deletion"] == "about 33 model evaluations a picture and map"
    assert costs["sensitivity"] == "about 11 runs of the explainer a picture and map"
    assert costs["iou"] == "no model evaluations" and costs["completeness"] == "as said above"


def test_every_explainer_stands_in_its_page_with_as_many_cells_as_there_are_columns() -> None:
    lines = [line for line in docs_make().explainers().splitlines() if line.startswith("| `")]
    own = [name for name, entry in EXPLAINERS.items() if entry.factory.__module__.startswith("xai_bench")]
    assert [line.split("`")[1] for line in lines] == own
    assert {line.count("|") for line in lines} == {2 + len(EXPLAINER_COLUMNS)}


def test_every_fault_has_a_test_that_exists() -> None:
    page = (ROOT / "docs" / "faults.md").read_text()
    named = re.findall(r"`(tests/\w+\.py)::(test_f(\d+)_\w+)`", page)
    assert {int(number) for _, _, number in named} == set(range(1, 15))
    assert len(named) == page.count("\n| F")
    for path, name, _ in named:
        assert f"\ndef {name}(" in (ROOT / path).read_text(), name
