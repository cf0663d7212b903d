"""Spec = {name, fields}: the repr, the configuration and part of the key of everything that runs.

`spec_of` turns a plugin instance into JSON values, `build` turns a name, a table or an instance into an instance.
Fitted state (a field called `state`) is not part of a spec; `state_of` and `with_state` carry it to and from the store.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import inspect
import json
import types
import typing
from collections.abc import Mapping
from typing import Any

import pydantic
from torch import Tensor

from xai_bench.code_version import code_version
from xai_bench.errors import BadInput, did_you_mean
from xai_bench.protocols import Explainer, Imputer, Metric, Summary
from xai_bench.registry import REGISTRIES
from xai_bench.samples import Dataset

JSON = None | bool | int | float | str | list["JSON"] | dict[str, "JSON"]
_PROTOCOLS = {Explainer: "explainer", Metric: "metric", Summary: "summary", Dataset: "dataset", Imputer: "imputer"}


def spec_of(value: Any) -> Any:
    """The JSON description of a plugin, a plain dataclass or a value. Raises BadInput for what has none."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        name = getattr(value, "xai_bench_name", type(value).__qualname__)
        fields = {f.name: spec_of(getattr(value, f.name)) for f in dataclasses.fields(value) if f.name != "state"}
        return {"name": name, "fields": fields}
    if isinstance(value, Mapping):
        return {str(k): spec_of(v) for k, v in value.items()}
    if isinstance(value, tuple | list):
        return [spec_of(v) for v in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if callable(value):
        return _callable_spec(value)
    raise BadInput(f"{value!r} cannot be written into a study; use numbers, strings, lists and registered plugins.")


def _callable_spec(function: Any) -> dict[str, Any]:
    name = f"{getattr(function, '__module__', None)}:{getattr(function, '__qualname__', '<object>')}"
    if "<" in name:
        raise BadInput(
            f"{name} is a lambda or a local function; define it at the top of a module so that it has a name."
        )
    try:
        source = inspect.getsource(function) + code_version(function)  # with what its module imports of its own package
    except (OSError, TypeError, ValueError):
        raise BadInput(f"the source of {name} cannot be read; define it in the file of a module.") from None
    return {"name": name, "source": hashlib.sha256(source.encode()).hexdigest()[:16]}


def digest(value: Any) -> str:
    """A short content hash of JSON values.

    >>> digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    True
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=True)
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def build(kind: str, value: Any, *, where: str = "") -> Any:
    """An instance from a name (`lime`, `torchvision:resnet18`), a table ({name, ...fields}) or the instance itself.

    Raises UnknownName, or BadInput for an unknown or ill-typed field, naming the place `where` it stood.
    """
    if isinstance(value, str):
        value = {"name": value}
    if value is None or isinstance(value, int | float | list | tuple):
        raise BadInput(f"{where or kind}: {value!r} is no {kind}; give its name, or a table with `name` and fields.")
    if kind == "explainer" and inspect.isfunction(value):  # a plain f(model, images, targets) enters by its adapter
        value = {"name": "callable", "function": value}
    if not isinstance(value, Mapping):
        return value
    if "name" not in value:
        raise BadInput(f"{where or kind}: {dict(value)!r} has no `name`; add the {kind}'s name.")
    fields = (
        dict(value["fields"]) if set(value) == {"name", "fields"} else {k: v for k, v in value.items() if k != "name"}
    )
    name, _, first = str(value["name"]).partition(":")
    cls = REGISTRIES[kind][name].factory
    if first:
        fields = {dataclasses.fields(cls)[0].name: first, **fields}
    return make(cls, fields, where=where or f"{kind} {name!r}")


def make(cls: type[Any], fields: Mapping[str, Any], *, where: str) -> Any:
    """A dataclass from plain values, each checked against its field's type."""
    known = {f.name: f for f in dataclasses.fields(cls) if f.init and f.name != "state"}
    for name in fields:
        if name not in known:
            raise BadInput(
                f"{where}: unknown field {name!r}; it has {', '.join(known) or 'none'}."
                f"{did_you_mean(name, list(known))}"
            )
    missing = [
        n
        for n, f in known.items()
        if n not in fields and f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise BadInput(f"{where}: field {missing[0]!r} is required.")
    hints = _hints(cls)  # type: ignore[arg-type]  # every class is hashable, which mypy does not see
    return cls(**{name: _convert(hints[name], value, f"{where}, field {name!r}") for name, value in fields.items()})


@functools.cache
def _hints(cls: type[Any]) -> dict[str, Any]:
    return typing.get_type_hints(cls)


def _convert(hint: Any, value: Any, where: str) -> Any:
    options = typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)
    if value is None and type(None) in options:
        return None
    for option in options:
        if option in _PROTOCOLS:
            return build(_PROTOCOLS[option], value, where=where)
        if typing.get_origin(option) is tuple and typing.get_args(option)[0] in _PROTOCOLS:
            kind = _PROTOCOLS[typing.get_args(option)[0]]
            return tuple(build(kind, v, where=where) for v in value)
        rows = isinstance(value, list | tuple) and typing.get_origin(option) is tuple
        if rows and dataclasses.is_dataclass(typing.get_args(option)[0]):
            return tuple(_convert(typing.get_args(option)[0], v, where) for v in value)
        if dataclasses.is_dataclass(option) and isinstance(value, Mapping):
            fields = value["fields"] if set(value) == {"name", "fields"} else value
            return make(typing.cast("type[Any]", option), fields, where=where)
        if dataclasses.is_dataclass(option) and isinstance(value, typing.cast("type[Any]", option)):
            return value
    try:
        return pydantic.TypeAdapter(hint).validate_python(value)
    except pydantic.ValidationError as error:
        raise BadInput(f"{where}: {value!r} is not valid: {error.errors()[0]['msg']}.") from None


def state_of(value: Any, prefix: str = "") -> dict[str, Tensor]:
    """All fitted tensors of a plugin and of the plugins in its fields, by dotted path."""
    found: dict[str, Tensor] = {}
    for f in dataclasses.fields(value):
        inner = getattr(value, f.name)
        if f.name == "state":
            found |= {f"{prefix}{k}": v for k, v in (inner or {}).items()}
        elif dataclasses.is_dataclass(inner) and not isinstance(inner, type):
            found |= state_of(inner, f"{prefix}{f.name}.")
    return found


def with_state(value: Any, state: Mapping[str, Tensor]) -> Any:
    """The plugin with fitted tensors put back where `state_of` found them."""
    own = {k: v for k, v in state.items() if "." not in k}
    changes: dict[str, Any] = {"state": own} if own else {}
    for name in {k.split(".", 1)[0] for k in state if "." in k}:
        inner = {k.split(".", 1)[1]: v for k, v in state.items() if k.startswith(f"{name}.")}
        changes[name] = with_state(getattr(value, name), inner)
    return dataclasses.replace(value, **changes) if changes else value
