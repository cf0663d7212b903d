"""Why a cell is stale: the field, the module, the data, the weights or the version that is another."""

from xai_bench.code_version import code_of
from xai_bench.environment import environment
from xai_bench.store.files import seal, unseal
from xai_bench.store.key_parts import brief, differences, other_environment, outdated, reasons

PARTS = {
    "plugin": {"name": "lime", "fields": {"samples": 500, "imputer": {"name": "blur", "fields": {"sigma": 10.0}}}},
    "code": {"xai_bench_explainers.lime": "aa", "xai_bench.saliency": "bb"}, "weights": "w1", "batch": 16,
    "mode": ["float32", []], "state": "",
    "pictures": {"ids": [f"film-{n}" for n in range(64)], "films": [f"d{n}" for n in range(64)], "targets": [0] * 64},
}  # fmt: skip


def why(**changes: object) -> list[str]:
    return reasons(differences(brief(PARTS), brief({**PARTS, **changes})))


def test_each_kind_of_change_is_named() -> None:
    fields = {"samples": 1000, "imputer": {"name": "blur", "fields": {"sigma": 5.0}}}
    changed = why(plugin={"name": "lime", "fields": fields})
    assert changed == ["field samples: 500, now 1000", "field imputer.sigma: 10.0, now 5.0"]
    assert why(code={**PARTS["code"], "xai_bench.saliency": "cc"}) == ["code of xai_bench.saliency"]
    assert why(code={"xai_bench.saliency": "bb", "xai_bench.new": "dd"}) == [
        "code of xai_bench_explainers.lime (gone)", "code of xai_bench.new (new)",
    ]  # fmt: skip
    assert why(code={**PARTS["code"], "version of own": "2"}) == ["version of own: absent, now 2"]
    assert why(weights="w2") == ["weights"]
    assert why(batch=32) == ["batch: 16, now 32"]
    assert why(state="s") == ["what was fitted on training films"]
    assert why(pictures={**PARTS["pictures"], "films": ["x"] * 64})[0].startswith("data: films with the same names")
    assert why(pictures={**PARTS["pictures"], "targets": [1] * 64})[0].startswith("other classes are explained")
    assert why(mode=["bfloat16", [{"passed": True}]]) == ["mode: ['float32', []], now ['bfloat16', [{'passed': True}]]"]
    assert why() == []


def test_the_root_comes_first() -> None:
    assert why(batch=32, weights="w2", state="s") == [
        "weights",
        "batch: 16, now 32",
        "what was fitted on training films",
    ]


def test_a_receipt_stays_small_and_survives_the_disk() -> None:
    parts = brief(PARTS)
    assert len(seal(parts)) < 1000 and parts["pictures"]["ids"]["length"] == 64
    assert differences(unseal(seal(parts)), brief(PARTS)) == {}
    assert len({brief([*range(20), n])["sha256"] for n in range(50)}) == 50


def test_code_that_changed_makes_a_cell_useless_whatever_is_asked() -> None:
    code = code_of(brief)
    assert outdated({"parts": {"code": code}}) == outdated({"parts": {"code": {**code, "__main__": "script"}}}) == []
    assert outdated({"parts": {"code": {**code, "xai_bench.store.key_parts": "old"}}}) == [
        "code of xai_bench.store.key_parts"
    ]
    assert outdated({"parts": {"code": {**code, "xai_bench.gone": "x"}}}) == ["code of xai_bench.gone (gone)"]
    assert outdated({"parts": {}}) == []
    assert outdated({}) == ["written by an older version of xai_bench"]


def test_versions_that_changed_are_named_and_threads_are_not() -> None:
    now = environment()
    assert other_environment({"environment": {**now, "threads": 99, "python": "2.7"}}) == []
    assert other_environment({"environment": {**now, "torch": "1.0"}}) == [
        f"environment: torch 1.0, now {now['torch']}"
    ]
    assert other_environment({}) == []
