"""The example package: found by its own entry point, under contract, and its own tests pass."""

import runpy
import sys
import tomllib
from pathlib import Path

import pytest

from xai_bench import registry
from xai_bench.registry import EXPLAINERS, METRICS, REGISTRIES
from xai_bench.spec import build
from xai_bench.testing import check_explainer, check_metric

FOLDER = Path(__file__).parents[1] / "examples" / "own_plugin"


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """What installing the package would leave behind: its code on the path and its metadata, from its own pyproject."""
    project = tomllib.loads((FOLDER / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    info = tmp_path / "own_plugin-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    points = project["entry-points"][registry.GROUP].items()
    (info / "entry_points.txt").write_text("\n".join([f"[{registry.GROUP}]", *(f"{k} = {v}" for k, v in points)]))
    monkeypatch.syspath_prepend(FOLDER)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(registry, "_loaded", set())
    yield
    for module in [m for m in sys.modules if m.split(".")[0] == "own_plugin"]:
        del sys.modules[module]
        for kind in REGISTRIES.values():
            kind.forget(module)


@pytest.mark.usefixtures("installed")
def test_it_is_found_and_keeps_the_contract():
    assert EXPLAINERS["gradient_times_input"].factory.__module__ == "own_plugin.gradient_times_input"
    assert METRICS["peak_area"].factory.__module__ == "own_plugin.peak_area"
    check_explainer(build("explainer", "gradient_times_input"))
    check_metric(build("metric", {"name": "peak_area", "share": 0.3}))


@pytest.mark.usefixtures("installed")
def test_its_own_tests_pass():
    space = runpy.run_path(str(FOLDER / "tests" / "test_own_plugin.py"))
    tests = [value for name, value in space.items() if name.startswith("test_")]
    assert len(tests) == 3
    for test in tests:
        test()


def test_a_clean_checkout_knows_nothing_of_it():
    assert "gradient_times_input" not in EXPLAINERS


def test_its_readme_names_what_it_brings():
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    files = [p.name for p in (FOLDER / "own_plugin").glob("*.py") if p.name != "__init__.py"]
    assert len(files) == 2
    assert all(f"own_plugin/{name}" in text for name in files)
