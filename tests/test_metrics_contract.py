"""Every registered metric keeps METRICS' contract with its default fields, on a small CNN."""

import pytest

from xai_bench.registry import METRICS
from xai_bench.spec import build
from xai_bench.testing import check_metric


@pytest.mark.parametrize("name", METRICS)
def test_contract(name):
    check_metric(METRICS[name].factory())


@pytest.mark.parametrize("name", METRICS)
def test_name_is_enough_to_build_it_and_a_table_can_show_it(name):
    metric = build("metric", name)
    assert metric == METRICS[name].factory()
    assert METRICS[name].summary, "its docstring's first line is what `xai-bench list` shows"
    assert metric.scores, "a table shows its headline scores, or all where a study has none"
