"""Receipts and `doctor` say what computed a number and never whose machine it was."""

import importlib.util
import socket

import numpy as np
import pytest
import torch

from xai_bench import _torchvision_ops, doctor
from xai_bench.environment import bfloat16_unit, environment, package_version
from xai_bench.registry import REGISTRIES


def test_it_names_versions_and_threads() -> None:
    found = environment()
    assert found["numpy"] == np.__version__ and found["torch"] == torch.__version__
    assert found["processor"] == torch.backends.cpu.get_cpu_capability()
    assert isinstance(found["threads"], int) and found["threads"] >= 1


def test_a_package_that_is_not_installed_is_absent() -> None:
    assert package_version("no-such-package-anywhere") == "absent"


def test_neither_receipts_nor_doctor_name_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    environment.cache_clear()
    monkeypatch.setattr(socket, "gethostname", lambda: "ward-7-reading-room")
    monkeypatch.setattr("platform.node", lambda: "ward-7-reading-room")
    text = f"{environment()} {doctor.findings()}"
    assert "ward-7" not in text


def test_doctor_lists_every_kind_of_plugin() -> None:
    lines = doctor.findings()
    for registry in REGISTRIES.values():
        assert f"{registry.plural}: {', '.join(registry)}" in lines


def test_doctor_says_what_is_odd(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(_torchvision_ops, "STUBBED", False)
    healthy = doctor.findings()
    assert not any("compiled operators" in line or "OpenCV is missing" in line for line in healthy)
    monkeypatch.setattr(_torchvision_ops, "STUBBED", True)
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
