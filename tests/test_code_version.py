"""Code hashes follow imports, and ignore comments and docstrings."""

import sys
import textwrap
from pathlib import Path

import pytest

from xai_bench import code_version as module


def forget() -> None:
    """What was read of modules."""
    for known in (module._module_version, module._versions, module._reached, module._parsed):
        known.cache_clear()


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(tmp_path)
    folder = tmp_path / "own_package"
    folder.mkdir()
    (folder / "__init__.py").write_text("")

    def write(name: str, text: str) -> None:
        (folder / f"{name}.py").write_text(textwrap.dedent(text))
        forget()

    yield write
    for name in [n for n in sys.modules if n.startswith("own_package")]:
        del sys.modules[name]
    forget()


def test_a_change_in_an_imported_module_changes_the_version(package) -> None:
    package("helper", "VALUE = 1\n")
    package("plugin", "from own_package.helper import VALUE\n")
    before = module._module_version("own_package.plugin")
    package("helper", "VALUE = 2\n")
    assert module._module_version("own_package.plugin") != before


def test_a_relative_import_inside_a_function_counts(package) -> None:
    package("helper", "VALUE = 1\n")
    package("plugin", "def f():\n    from . import helper\n    return helper\n")
    before = module._module_version("own_package.plugin")
    package("helper", "VALUE = 2\n")
    assert module._module_version("own_package.plugin") != before


def test_comments_and_docstrings_do_not_count(package) -> None:
    package("plugin", '"""One."""\nX = 1\n"""One."""\ndef f():\n    """One."""\n    return 1\n')
    before = module._module_version("own_package.plugin")
    package("plugin", '"""Two."""\nX = 1  # why\n"""Two."""\ndef f():\n    """Two."""\n    return 1\n')
    assert module._module_version("own_package.plugin") == before


def test_a_stranger_does_not_count(package) -> None:
    package("plugin", "X = 1\n")
    package("stranger", "Y = 1\n")
    before = module._module_version("own_package.plugin")
    package("stranger", "Y = 2\n")
    assert module._module_version("own_package.plugin") == before


def test_the_code_of_a_plugin_in_a_field_counts(package) -> None:
    import importlib

    package("inner", "from dataclasses import dataclass\n@dataclass(frozen=True)\nclass Inner:\n    x: int = 1\n")
    package("outer", "from dataclasses import dataclass\n@dataclass(frozen=True)\nclass Outer:\n    inner: int = 0\n")
    inner, outer = importlib.import_module("own_package.inner"), importlib.import_module("own_package.outer")
    plugin = outer.Outer(inner.Inner())
    before, alone = module.code_version(plugin), module.code_version(outer.Outer())
    assert before != alone
    package("inner", "from dataclasses import dataclass\n@dataclass(frozen=True)\nclass Inner:\n    x: int = 2\n")
    assert module.code_version(plugin) != before and module.code_version(outer.Outer()) == alone


def test_a_plugin_in_the_script_itself_is_hashed_by_its_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package
) -> None:
    script = tmp_path / "script.py"
    monkeypatch.setattr(sys.modules["__main__"], "__file__", str(script), raising=False)
    versions = []
    for text in ("X = 1\n", "X = 2\n"):
        script.write_text(text)
        package("unused", "")  # forgets what was read
        versions.append(module._module_version("__main__"))
    assert versions[0] != versions[1]


def test_every_module_has_its_own_hash_so_that_a_change_can_be_named(package) -> None:
    import importlib

    package("helper", "VALUE = 1\n")
    package("plugin", "from own_package.helper import VALUE\nclass Plugin:\n    x = VALUE\n")
    plugin = importlib.import_module("own_package.plugin").Plugin()
    before = module.code_of(plugin)
    assert {"own_package.plugin", "own_package.helper"} <= set(before)
    assert all(module.code_now(name) == h for name, h in before.items())
    package("helper", "VALUE = 2\n")
    after = module.code_of(plugin)
    assert {name for name in after if after[name] != before[name]} == {"own_package.helper"}
    assert module.code_now("own_package.helper") == after["own_package.helper"] != before["own_package.helper"]
    assert module.code_now("own_package.gone") is None


def test_a_module_by_name_stands_alone() -> None:
    assert list(module.code_of("xai_bench.running.workbench")) == ["xai_bench.running.workbench"]
    assert module.code_of("xai_bench.no_such_module") == {}
    both = module.code_of(module.code_of, "xai_bench.running.workbench")
    assert {"xai_bench.code_version", "xai_bench.running.workbench"} <= set(
        both
    ) and "xai_bench.store.store" not in both


def test_another_distribution_counts_with_its_version(package, monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib

    package("plugin", "class Plugin:\n    pass\n")
    plugin = importlib.import_module("own_package.plugin").Plugin
    monkeypatch.setattr(module, "_distributions", lambda: {"own_package": ["own-dist"]})
    for number in ("1.0", "1.1"):
        forget()
        monkeypatch.setattr(module, "version", lambda name, number=number: number)
        assert module.code_of(plugin)["version of own-dist"] == number == module.code_now("version of own-dist")
    assert module.code_now("version of removed") is None
    assert not any(name.startswith("version of") for name in module.code_of(module.code_of))
