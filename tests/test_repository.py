"""The walls: folders, wheel, one-way imports, lazy heavy imports, no network at import."""

import ast
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = {"xai_bench", "xai_bench_explainers", "xai_bench_metrics", "xai_bench_annotations"}
CORE = sorted((ROOT / "xai_bench").rglob("*.py"))
SOURCES = [
    *CORE,
    *sorted((ROOT / "explainers").rglob("*.py")),
    *sorted((ROOT / "metrics").rglob("*.py")),
    *sorted((ROOT / "annotations").rglob("*.py")),
]


def test_generic_folders_are_not_import_packages() -> None:
    for name in ("explainers", "metrics", "annotations"):
        assert not (ROOT / name / "__init__.py").exists()
        assert (ROOT / name / "README.md").is_file()
        assert [p.name for p in (ROOT / name).iterdir() if (p / "__init__.py").is_file()] == [f"xai_bench_{name}"]


def test_the_wheel_installs_only_our_four_packages(tmp_path: Path) -> None:
    pytest.importorskip("hatchling")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    tops = {n.split("/")[0] for n in zipfile.ZipFile(wheel).namelist()}
    assert {t for t in tops if not t.endswith(".dist-info")} == PACKAGES


def imported(path: Path, *, at_top: bool) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = tree.body if at_top else list(ast.walk(tree))
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
    return found


@pytest.mark.parametrize("path", CORE, ids=lambda p: str(p.relative_to(ROOT)))
def test_the_core_never_imports_a_plugin_package(path: Path) -> None:
    assert not imported(path, at_top=False) & {"xai_bench_explainers", "xai_bench_metrics", "xai_bench_annotations"}


MACHINERY = {"store", "running", "backends", "planning", "cli"}
WALLS = {
    "store": MACHINERY - {"store"},
    "running": {"planning", "cli"},
    "backends": {"cli"},
    "planning": {"backends", "cli"},
    "reporting": MACHINERY - {"running"},
    "cli": set[str](),
}
"""Room of the core -> the rooms that it must not import; every other file of the core and every plugin: all of them."""


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_walls_between_rooms_stand(path: Path) -> None:
    inside = path.relative_to(ROOT).parts
    if inside[:1] != ("xai_bench",) or inside[1] not in ("__init__.py", "__main__.py"):
        tree = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        modules = {m for n in tree for m in ([n.module] if isinstance(n, ast.ImportFrom) else [])}
        rooms = {m.split(".")[1] for m in modules if m and m.startswith("xai_bench.")}
        assert not rooms & WALLS.get(inside[1] if inside[0] == "xai_bench" else "", MACHINERY)


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_heavy_imports_are_lazy(path: Path) -> None:
    heavy = {
        "cv2",
        "quantus",
        "captum",
        "shap",
        "lime",
        "lightning",
        "pytorch_grad_cam",
        "timm",
        "sklearn",
        "statsmodels",
    }
    if path.name == "_lightning.py":  # itself imported inside functions only
        heavy -= {"lightning"}
    assert not imported(path, at_top=True) & heavy


def test_the_core_imports_with_the_plugins_absent_and_without_a_network() -> None:
    code = """
import socket, sys
def refuse(*a, **k): raise AssertionError("network at import")
socket.socket.connect = refuse
plugins = ("xai_bench_explainers", "xai_bench_metrics", "xai_bench_annotations")
for name in (*plugins, "lightning", "cv2", "shap", "lime", "quantus", "captum"):
    sys.modules[name] = None
import xai_bench, xai_bench.study, xai_bench.running.benchmark, xai_bench.cli.main
import xai_bench.testing, xai_bench.statistics
from xai_bench.registry import DATASETS, EXPLAINERS
import warnings
with warnings.catch_warnings(record=True) as seen:
    warnings.simplefilter("always")
    assert "phantom" in DATASETS and len(EXPLAINERS) == 0
assert any("xai_bench_explainers" in str(w.message) for w in seen)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr


def test_pyproject_lock_and_version_agree() -> None:
    import xai_bench

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == xai_bench.__version__
    lock = (ROOT / "requirements.lock").read_text().lower().replace("_", "-")
    for requirement in project["dependencies"]:
        name = requirement.split(">")[0].split("[")[0].strip().lower()
        assert f"\n{name}==" in lock, name
    assert "opencv-python==" not in lock


def test_the_readme_s_two_commands_are_the_makefile_s() -> None:
    readme, makefile = (ROOT / "README.md").read_text(), (ROOT / "Makefile").read_text()
    for command in ("demo", "test"):
        assert f"make {command}" in readme and f"\n{command}:" in makefile
    assert "make test" in (ROOT / ".ci" / "run").read_text()


def test_the_readme_s_python_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = (ROOT / "README.md").read_text().split("```python\n")[1:]
    monkeypatch.chdir(tmp_path)
    assert blocks
    for block in blocks:
        exec(compile(block.split("```")[0], "README.md", "exec"), {"__name__": "readme"})


def test_every_module_has_a_docstring() -> None:
    for path in SOURCES:
        assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))), path
