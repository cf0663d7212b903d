"""What went into a cell's key, short enough for its receipt, and what of it is another today: why a cell is stale."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from xai_bench.code_version import code_now
from xai_bench.environment import other_versions
from xai_bench.spec import digest

LONG = 8
"""Longer lists stand in a receipt as their length and hash."""

SELECTION = "pictures.ids"
"""Cells about other pictures are other cells, and not stale ones."""

_WORDS = {
    "pictures.films": "data: films with the same names have other pixels, labels or regions",
    "films": "data: other training films",
    "training_films": "data: other training films",
    "pictures.targets": "other classes are explained (the predictions changed)",
    "weights": "weights",
    "maps": "the maps it scores",
    "state": "what was fitted on training films",
    "tuned": "what was tuned on validation films",
    "players": "code of anatomical players",
    "consensus": "code of consensus references",
    "partners": "data: other partners for shuffled scores",
}
_FIRST = ("weights", "pictures.films", "films", "training_films", "plugin", "architecture", "training", "code", "mode")


def brief(parts: Any) -> Any:
    """The parts of a key, long lists by their length and hash.

    >>> brief({"a": [1, 2], "b": list(range(100))})
    {'a': [1, 2], 'b': {'length': 100, 'sha256': '9dd50adbd73b'}}
    """
    if isinstance(parts, Mapping):
        return {str(k): brief(v) for k, v in parts.items()}
    if isinstance(parts, list | tuple):
        plain = [brief(v) for v in parts]
        return plain if len(plain) <= LONG else {"length": len(plain), "sha256": digest(parts)[:12]}
    return parts


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Dotted path -> (old, new) of everything that differs between two `brief` parts; None stands for absent.

    >>> differences({"plugin": {"fields": {"samples": 9}}}, {"plugin": {"fields": {"samples": 10}}})
    {'plugin.fields.samples': (9, 10)}
    """
    a, b = _flat(old), _flat(new)
    return {k: (a.get(k), b.get(k)) for k in {**a, **b} if a.get(k) != b.get(k)}


def _flat(value: Any, path: str = "") -> dict[str, Any]:
    if not isinstance(value, Mapping) or set(value) == {"length", "sha256"}:
        return {path: value}
    if path == "code":  # names of modules have dots
        return {f"code of {k}" if "version of" not in k else str(k): v for k, v in value.items()}
    return {p: v for k, inner in value.items() for p, v in _flat(inner, f"{path}.{k}" if path else str(k)).items()}


def reasons(different: Mapping[str, tuple[Any, Any]]) -> list[str]:
    """The differences in words, what others follow from first.

    >>> reasons({"plugin.fields.samples": (9, 10), "weights": ("a", "b")})
    ['weights', 'field samples: 9, now 10']
    """

    def rank(path: str) -> int:
        return next((n for n, start in enumerate(_FIRST) if path.startswith(start)), len(_FIRST))

    return [_said(path, *different[path]) for path in sorted(different, key=rank)]


def _said(path: str, old: Any, new: Any) -> str:
    if path in _WORDS:
        return _WORDS[path]
    if path.startswith("code of "):
        return path + (" (new)" if old is None else " (gone)" if new is None else "")
    name = path.replace("plugin.fields.", "field ").replace(".fields.", ".")
    values = (old, new)
    if any(isinstance(v, Mapping) for v in values):
        return name
    return f"{name}: {_short(old)}, now {_short(new)}"


def _short(value: Any) -> str:
    text = "absent" if value is None else str(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def outdated(receipt: Mapping[str, Any]) -> list[str]:
    """Why no study can ask for this cell again while the code is what it is now; empty where one may."""
    recorded = receipt.get("parts")
    if not isinstance(recorded, Mapping):
        return ["written by an older version of xai_bench"]
    code = recorded.get("code")  # of a script's own plugins (`__main__`) nobody else can tell
    modules = {m: h for m, h in code.items() if m != "__main__"} if isinstance(code, Mapping) else {}
    return reasons(differences({"code": modules}, {"code": {m: h for m in modules if (h := code_now(m)) is not None}}))


def other_environment(receipt: Mapping[str, Any]) -> list[str]:
    """Packages whose version is no longer that of the receipt; the cell is still used."""
    found = other_versions(receipt.get("environment", {}))
    return [f"environment: {name} {old}, now {new}" for name, (old, new) in found.items()]
