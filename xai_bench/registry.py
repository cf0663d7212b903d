"""Explainers, metrics, summaries, datasets, classifiers and imputers by name; plugin loading.

A plugin is a file in a package that an entry point of the group `xai_bench.plugins` names. Registering is enough: what
a decorator below registers is listed, documented, contract-tested and usable in studies.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, is_dataclass
from importlib.metadata import entry_points
from types import ModuleType
from typing import Any, TypeVar

from xai_bench.errors import DuplicateName, PluginWarning, UnknownName, XaiBenchError, did_you_mean

GROUP = "xai_bench.plugins"
T = TypeVar("T")


@dataclass(frozen=True)
class Entry:
    """A registered plugin."""

    kind: str
    name: str
    factory: type[Any]
    cite: str

    @property
    def summary(self) -> str:
        """The first line of its docstring."""
        return (inspect.getdoc(self.factory) or "").split("\n", 1)[0]

    @property
    def where(self) -> str:
        """The module and class that registered it."""
        return f"{self.factory.__module__}.{self.factory.__qualname__}"


class Registry(Mapping[str, Entry]):
    """A mapping from name to entry of one kind. Plugins are loaded at the first look."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._entries: dict[str, Entry] = {}

    @property
    def plural(self) -> str:
        """What the entries are called together: explainers, summaries."""
        return f"{self.kind[:-1]}ies" if self.kind.endswith("y") else f"{self.kind}s"

    def register(self, name: str, *, cite: str = "") -> Callable[[type[T]], type[T]]:
        """A class decorator. Raises DuplicateName where another class has the name."""

        def decorate(cls: type[T]) -> type[T]:
            if not is_dataclass(cls):
                raise XaiBenchError(
                    f"{self.kind} {name!r} ({cls.__qualname__}) must be a dataclass: "
                    "put @dataclass(frozen=True) under the decorator."
                )
            entry, old = Entry(self.kind, name, cls, cite), self._entries.get(name)
            if old is not None and old.where != entry.where:
                raise DuplicateName(
                    f"two plugins are called {self.kind} {name!r}: {old.where} and {entry.where}; rename one."
                )
            self._entries[name] = entry
            cls.xai_bench_name = name  # type: ignore[attr-defined]  # how an instance finds its entry
            cls.xai_bench_kind = self.kind  # type: ignore[attr-defined]  # the same
            return cls

        return decorate

    def forget(self, module: str) -> None:
        """Drop what a module registered; used when it fails to load."""
        self._entries = {k: e for k, e in self._entries.items() if e.factory.__module__ != module}

    def __getitem__(self, name: str) -> Entry:
        load_plugins()
        if name not in self._entries:
            hint = did_you_mean(name, sorted(self._entries))
            raise UnknownName(f"{self.kind} {name!r} is not known.{hint} `xai-bench list` shows all.")
        return self._entries[name]

    def __iter__(self) -> Iterator[str]:
        load_plugins()
        return iter(sorted(self._entries))

    def __len__(self) -> int:
        load_plugins()
        return len(self._entries)

    def __contains__(self, name: object) -> bool:
        load_plugins()
        return name in self._entries


EXPLAINERS = Registry("explainer")
METRICS = Registry("metric")
SUMMARIES = Registry("summary")
DATASETS = Registry("dataset")
CLASSIFIERS = Registry("classifier")
IMPUTERS = Registry("imputer")
REGISTRIES = {r.kind: r for r in (EXPLAINERS, METRICS, SUMMARIES, DATASETS, CLASSIFIERS, IMPUTERS)}

explainer = EXPLAINERS.register
metric = METRICS.register
summary = SUMMARIES.register
dataset = DATASETS.register
classifier = CLASSIFIERS.register
imputer = IMPUTERS.register

_loaded: set[str] = set()


def load_plugins() -> None:
    """Import every plugin file once. One that fails is named in a warning; everything else works."""
    if _loaded:
        return
    _loaded.add(GROUP)
    for point in sorted(entry_points(group=GROUP), key=lambda p: (p.value, p.name)):
        label = f"{point.name} ({point.value}) of {point.dist.name if point.dist else 'an unknown distribution'}"
        module = _attempt(point.value.split(":")[0], label)
        for inner in _plugin_files(module) if module else ():
            _attempt(inner, label)


def _plugin_files(package: ModuleType) -> list[str]:
    if not hasattr(package, "__path__"):
        return []
    found = pkgutil.iter_modules(package.__path__, package.__name__ + ".")
    return [m.name for m in found if not m.name.rsplit(".", 1)[1].startswith("_")]


def _attempt(module: str, label: str) -> ModuleType | None:
    try:
        return importlib.import_module(module)
    except DuplicateName:
        raise
    except Exception as error:  # a plugin can fail in any way; the rest must go on
        for registry in REGISTRIES.values():
            registry.forget(module)
        sys.modules.pop(module, None)
        warnings.warn(
            f"plugin {label} did not load: {module}: {type(error).__name__}: {error}", PluginWarning, stacklevel=3
        )
        return None
