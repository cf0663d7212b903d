"""The registry: names, plugin loading from installed distributions, and what happens when one is broken."""

import sys
import textwrap
from dataclasses import dataclass

import pytest

from xai_bench import registry
from xai_bench.errors import DuplicateName, PluginWarning, UnknownName, XaiBenchError
from xai_bench.registry import EXPLAINERS, METRICS, REGISTRIES, Registry, load_plugins

GOOD = """
    from dataclasses import dataclass
    from xai_bench.registry import explainer

    @explainer("{name}", cite="Someone 2020")
    @dataclass(frozen=True)
    class Method:
        '''What it does.

        More.'''
"""


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Make a package with these files, installed as far as `importlib.metadata` can see; forget it afterwards."""
    names = []

    def make(name, **files):
        names.append(name)
        package, info = tmp_path / name, tmp_path / f"{name}-1.0.dist-info"
        package.mkdir()
        info.mkdir()
        (package / "__init__.py").write_text(files.pop("init", ""))
        for file, text in files.items():
            (package / f"{file}.py").write_text(textwrap.dedent(text))
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[{registry.GROUP}]\n{name} = {name}\n")

    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(registry, "_loaded", set())
    yield make
    for module in [m for m in sys.modules if m.split(".")[0] in names]:
        del sys.modules[module]
        for kind in REGISTRIES.values():
            kind.forget(module)


def test_an_installed_package_is_found_and_searched(install):
    install("third_party", method=GOOD.format(name="third_method"), _helper="raise RuntimeError('not a plugin file')")
    entry = EXPLAINERS["third_method"]
    assert entry.summary == "What it does."
    assert entry.cite == "Someone 2020"
    assert entry.where == "third_party.method.Method"
    assert "third_method" in EXPLAINERS
    assert "third_method" in list(EXPLAINERS)


def test_a_broken_plugin_is_named_and_everything_else_works(install):
    install("broken_package", init="import a_module_that_is_not_there")
    install("half_broken", good=GOOD.format(name="survivor"), bad=GOOD.format(name="victim") + "\n    1 / 0")
    with pytest.warns(PluginWarning) as caught:
        load_plugins()
    said = sorted(str(w.message) for w in caught)
    assert len(said) == 2
    assert "broken_package" in said[0]
    assert "a_module_that_is_not_there" in said[0]
    assert "half_broken.bad: ZeroDivisionError" in said[1]
    assert "survivor" in EXPLAINERS
    assert "victim" not in EXPLAINERS
    assert {"grad_cam", "random_map"} <= set(EXPLAINERS)


def test_a_name_used_twice_is_an_error_that_names_both(install):
    install("impostor", method=GOOD.format(name="grad_cam"))
    with pytest.raises(
        DuplicateName, match=r"grad_cam.*xai_bench_explainers\.grad_cam\.GradCAM.*impostor\.method\.Method"
    ):
        load_plugins()
    assert EXPLAINERS["grad_cam"].where == "xai_bench_explainers.grad_cam.GradCAM"


def test_plugins_are_loaded_once(install):
    install("once", method=GOOD.format(name="once"))
    load_plugins()
    install("too_late", method=GOOD.format(name="too_late"))
    load_plugins()
    assert "once" in EXPLAINERS
    assert "too_late" not in EXPLAINERS


def test_an_unknown_name_suggests_a_known_one():
    with pytest.raises(UnknownName, match=r"explainer 'grad_cm' is not known\. Did you mean 'grad_cam'\?"):
        EXPLAINERS["grad_cm"]
    with pytest.raises(UnknownName, match=r"metric 'zzzz' is not known\. `xai-bench list` shows all\."):
        METRICS["zzzz"]


def test_the_same_class_may_register_again_and_another_may_not():
    own = Registry("thing")

    @own.register("a")
    @dataclass(frozen=True)
    class First:
        pass

    own.register("a")(First)  # a module that is reloaded
    with pytest.raises(DuplicateName, match=r"First.*Second"):

        @own.register("a")
        @dataclass(frozen=True)
        class Second:
            pass


def test_a_plain_class_is_refused():
    with pytest.raises(XaiBenchError, match="must be a dataclass"):

        @Registry("thing").register("plain")
        class Plain:
            pass


def test_registries_are_mappings_in_alphabetical_order():
    for kind, found in REGISTRIES.items():
        names = list(found)
        assert names == sorted(names)
        assert len(found) == len(names)
        assert all(found[name].kind == kind and found[name].factory.xai_bench_name == name for name in names)
