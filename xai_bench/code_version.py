"""A hash of the code that a number depends on: part of the key of every cell.

It covers the plugin's module and every module that it imports, transitively, from its own distribution's top-level
package and from `xai_bench*`; of another distribution than ours the version too, because it may hold compiled modules
and data. Comments and docstrings do not count.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import hashlib
import importlib.util
import sys
from importlib.metadata import packages_distributions, version
from pathlib import Path
from typing import Any


def code_version(thing: Any) -> str:
    """The code hash of a class, a function, or an instance and the plugins in its fields."""
    versions = [_module_version(module) for module in sorted(_modules(thing))]
    return versions[0] if len(versions) == 1 else hashlib.sha256("".join(versions).encode()).hexdigest()[:16]


def code_of(*things: Any) -> dict[str, str]:
    """Module -> hash of all code that these things depend on, so that a change can be named.

    A thing is a class, a function, an instance with the plugins in its fields, or the name of a module, which then
    stands alone, without what it imports.
    """
    found: dict[str, str] = {}
    for thing in things:
        if isinstance(thing, str):
            parsed = _parsed(thing)
            found |= {thing: parsed[0][:12]} if parsed else {}
        else:
            for module in _modules(thing):
                found |= _versions(module)
    return found


def code_now(module: str) -> str | None:
    """The present hash of one line of `code_of`; None where the module or distribution is gone."""
    if module.startswith(VERSION_OF):
        name = module.removeprefix(VERSION_OF)
        return version(name) if any(name in names for names in _distributions().values()) else None
    parsed = _parsed(module)
    return parsed[0][:12] if parsed else None


VERSION_OF = "version of "


def _modules(thing: Any) -> set[str]:
    found = {getattr(thing, "__module__", None) or type(thing).__module__}
    if dataclasses.is_dataclass(thing) and not isinstance(thing, type):
        for f in dataclasses.fields(thing):
            value = getattr(thing, f.name)
            if dataclasses.is_dataclass(value) and not isinstance(value, type):
                found |= _modules(value)
    return found


@functools.cache
def _module_version(module: str) -> str:
    return hashlib.sha256(repr(sorted(_reached(module).items())).encode()).hexdigest()[:16]


@functools.cache
def _versions(module: str) -> dict[str, str]:
    top = module.split(".")[0]
    ours = top.startswith("xai_bench") or top == "__main__"
    foreign = [] if ours else _distributions().get(top, [])
    versions = {f"{VERSION_OF}{name}": version(name) for name in sorted(foreign)}
    return versions | {name: h[:12] for name, h in _reached(module).items()}


_distributions = functools.cache(packages_distributions)


@functools.cache
def _reached(module: str) -> dict[str, str]:
    """Every module that counts, and its hash."""
    own = module.split(".")[0]
    waiting, seen = [module], {}
    while waiting:
        name = waiting.pop()
        parsed = None if name in seen else _parsed(name)
        if parsed is None:
            continue
        seen[name], imports = parsed
        waiting += [m for m in imports if m.split(".")[0] == own or m.startswith("xai_bench")]
    return seen


@functools.cache
def _parsed(module: str) -> tuple[str, tuple[str, ...]] | None:
    """The hash of a module's own code and the names that it imports; once, as every plugin imports the same core."""
    source = _source(module)
    if source is None:
        return None
    tree = ast.parse(source)
    imports = tuple(_imports(tree, module))
    return hashlib.sha256(ast.dump(_without_docstrings(tree)).encode()).hexdigest(), imports


def _source(module: str) -> str | None:
    """A module's text; found beside its package's files, because asking Python for it would import its parents."""
    if module == "__main__":  # a plugin that stands in the script itself
        script = getattr(sys.modules[module], "__file__", None)
        return Path(script).read_text(encoding="utf-8") if script else None
    top, *rest = module.split(".")
    spec = importlib.util.find_spec(top)
    if spec is None:
        return None
    for folder in spec.submodule_search_locations or ():
        path = Path(folder, *rest)
        for file in (path / "__init__.py", path.with_suffix(".py") if rest else path):
            if file.is_file():
                return file.read_text(encoding="utf-8")
    if rest or spec.origin is None or not spec.origin.endswith(".py"):
        return None
    return Path(spec.origin).read_text(encoding="utf-8")


def _imports(tree: ast.Module, module: str) -> list[str]:
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = ".".join([*module.split(".")[: -node.level], *([node.module] if node.module else [])])
            found += [base, *(f"{base}.{alias.name}" for alias in node.names)]
    return found


def _without_docstrings(tree: ast.Module) -> ast.Module:
    """Without constants that stand alone: docstrings, also those below a name, and `...`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            node.body = [n for n in node.body if not (isinstance(n, ast.Expr) and isinstance(n.value, ast.Constant))]
    return tree
