"""Receipts and `doctor` say what computed a number and never whose machine it was."""

import importlib.util
import socket
import subprocess
import sys

import numpy as np
import pytest
import torch

from xai_bench import _torchvision_ops
from xai_bench.cli import doctor
from xai_bench.environment import _installed, bfloat16_unit, environment, other_versions, package_version, peak_memory
from xai_bench.registry import REGISTRIES


def test_it_names_versions_and_threads() -> None:
    found = environment()
    assert found["numpy"] == np.__version__ and found["torch"] == torch.__version__
    assert torch.backends.cpu.get_cpu_capability() in str(found["processor"])
    assert found["deterministic"] is torch.are_deterministic_algorithms_enabled()


def test_threads_are_those_of_now() -> None:
    before = torch.get_num_threads()
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            assert environment()["threads"] == threads
    finally:
        torch.set_num_threads(before)


def test_other_versions_are_named() -> None:
    now = environment()
    assert other_versions(now) == {}
    assert other_versions({**now, "shap": "0.1", "python": "2.7", "threads": 9}) == {"shap": ("0.1", now["shap"])}


def test_peak_memory_is_that_of_the_block() -> None:
    with peak_memory() as peak:
        before = peak()["peak_mb"]
        held = np.ones(30_000_000)
        grown = peak()["peak_mb"] - before
    assert 200 <= grown <= 260 and held.nbytes == 240_000_000
    del held
    with peak_memory() as peak:
        assert peak()["peak_mb"] < before + 100


def test_a_package_that_is_not_installed_is_absent() -> None:
    assert package_version("no-such-package-anywhere") == "absent"


def test_neither_receipts_nor_doctor_name_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    _installed.cache_clear()
    monkeypatch.setattr(socket, "gethostname", lambda: "ward-7-reading-room")
    monkeypatch.setattr("platform.node", lambda: "ward-7-reading-room")
    text = f"{environment()} {doctor.findings()}"
    assert "ward-7" not in text


def test_doctor_lists_every_kind_of_plugin() -> None:
    lines = doctor.findings()
    for registry in REGISTRIES.values():
        assert f"{registry.plural}: {', '.join(registry)}" in lines


def test_the_package_alone_imports_neither_torch_nor_torchvision() -> None:
    code = "import sys, xai_bench; print(sorted({'torch', 'torchvision', 'numpy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_torchvision_can_be_imported_after_the_package() -> None:
    code = "import xai_bench, torchvision.models; print(len(torchvision.models.resnet18().state_dict()))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "122\n"


def test_doctor_says_what_is_odd(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(_torchvision_ops, "declare_missing", lambda: False)
    healthy = doctor.findings()
    assert not any("compiled operators" in line or "OpenCV is missing" in line for line in healthy)
    monkeypatch.setattr(_torchvision_ops, "declare_missing", lambda: True)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "cv2" else find(name))
    odd = [line for line in doctor.findings() if line not in healthy]
    assert len(odd) == 2
    assert odd[0].startswith("torchvision: its compiled operators do not fit")
    assert odd[1].startswith("OpenCV is missing: install opencv-python-headless")


@pytest.mark.parametrize(("amx", "avx", "said"), [(True, True, "AMX"), (False, True, "AVX-512"), (False, False, "not")])
def test_doctor_says_what_bfloat16_is_worth(monkeypatch: pytest.MonkeyPatch, amx: bool, avx: bool, said: str) -> None:
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx)
    (line,) = [line for line in doctor.findings() if line.startswith("bfloat16 on this processor: ")]
    assert line.removeprefix("bfloat16 on this processor: ").startswith(said)


def test_doctor_says_that_no_compiler_was_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert any(line.startswith("no C++ compiler was found") for line in doctor.findings())
    monkeypatch.setenv("CXX", "/bin/sh")
    assert not any(line.startswith("no C++ compiler was found") for line in doctor.findings())


def test_a_torch_that_cannot_tell_has_no_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.cpu, "_is_amx_tile_supported")
    monkeypatch.delattr(torch.cpu, "_is_avx512_bf16_supported")
    assert bfloat16_unit() == ""
