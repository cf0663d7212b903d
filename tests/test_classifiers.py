"""Architectures by name: torchvision, timm, the small CNN and attention on it."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

from xai_bench.classifiers.small_attention import SmallAttention
from xai_bench.classifiers.small_cnn import GeneralizedMean, SmallCNN
from xai_bench.classifiers.timm_zoo import TimmModel
from xai_bench.classifiers.torchvision_zoo import TorchvisionModel
from xai_bench.errors import BadInput, UnknownName
from xai_bench.inputs import Input, Resize
from xai_bench.samples import Head
from xai_bench.spec import build, spec_of

HEADS = (Head("finding", ("no", "yes", "unsure")), Head("view", ("ap", "lateral")))
READER = Input(Resize(64, 64))
ALL = [TorchvisionModel("squeezenet1_0"), TimmModel("mobilevit_xxs"), SmallCNN(width=8), SmallAttention(width=8)]


@pytest.mark.parametrize("architecture", ALL, ids=lambda a: a.xai_bench_name)
def test_build_is_seeded_and_leaves_global_randomness_alone(architecture: object) -> None:
    state = torch.random.get_rng_state()
    one, same, other = (architecture.build(HEADS, READER, seed) for seed in (3, 3, 4))
    assert torch.equal(state, torch.random.get_rng_state())
    assert one.weights_hash() == same.weights_hash() != other.weights_hash()
    assert one.eval()(torch.rand(2, 1, 64, 64)).shape == (2, 5)


@pytest.mark.parametrize("architecture", ALL, ids=lambda a: a.xai_bench_name)
def test_an_architecture_survives_its_spec(architecture: object) -> None:
    assert build("classifier", spec_of(architecture)) == architecture


def test_short_names() -> None:
    assert build("classifier", "torchvision:resnet18") == TorchvisionModel("resnet18")
    assert build("classifier", "small_cnn") == SmallCNN()


def test_the_architecture_is_called_by_its_model() -> None:
    assert TorchvisionModel("resnet18").build(HEADS, READER, 0).architecture == "resnet18"


@pytest.mark.parametrize(
    ("name", "wrong", "right"), [("torchvision", "resnet81", "resnet18"), ("timm", "mobilevit_xs2", "mobilevit_xs")]
)
def test_unknown_model_is_answered_with_a_suggestion(name: str, wrong: str, right: str) -> None:
    with pytest.raises(UnknownName, match=f"Did you mean '{right}"):
        build("classifier", {"name": name, "model": wrong})


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("kind", [TorchvisionModel, TimmModel])
def test_local_weights_fill_all_but_the_last_layer(tmp_path: Path, suffix: str, kind: type) -> None:
    model = "squeezenet1_0" if kind is TorchvisionModel else "mobilevit_xxs"
    ten = (Head("other", tuple("abcdefghij")),)
    source = kind(model).build(ten, READER, seed=1).model
    path = tmp_path / f"weights{suffix}"
    (save_file if suffix == ".safetensors" else torch.save)(source.state_dict(), path)
    loaded = kind(model, weights=str(path)).build(HEADS, READER, seed=2).model.state_dict()
    fresh = kind(model).build(HEADS, READER, seed=2).model.state_dict()
    last = [name for name, t in source.state_dict().items() if name in loaded and loaded[name].shape != t.shape]
    assert len(last) == 2  # weight and bias
    for name, tensor in source.state_dict().items():
        assert torch.equal(loaded[name], fresh[name] if name in last else tensor)


def test_normalization_is_imagenets_unless_given() -> None:
    assert TorchvisionModel("squeezenet1_0").build(HEADS, READER, 0).mean.flatten().tolist() == pytest.approx(
        [0.485, 0.456, 0.406]
    )
    half = TorchvisionModel("squeezenet1_0", mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)).build(HEADS, READER, 0)
    assert half.normalize(torch.tensor([[[[0.0, 1.0]]]])).flatten().tolist() == [-1.0, 1.0] * 3


def test_timm_models_come_with_their_own_normalization() -> None:
    assert TimmModel("vit_tiny_patch16_224").build(HEADS, READER, 0).std.flatten().tolist() == [0.5, 0.5, 0.5]


def test_options_go_to_timm_and_those_of_the_study_are_refused() -> None:
    plain = TimmModel("resnet18").build(HEADS, READER, 0)
    gated = TimmModel("resnet18", options={"block_args": {"attn_layer": "cbam"}}).build(HEADS, READER, 0)
    kinds = [{type(m).__name__ for m in c.modules()} for c in (plain, gated)]
    assert "SpatialAttn" in kinds[1] - kinds[0]
    with pytest.raises(BadInput, match="option 'num_classes' is set by"):
        TimmModel("resnet18", options={"num_classes": 5})
    with pytest.raises(BadInput, match=r"resnet18 cannot be made .*no_such_thing"):
        TimmModel("resnet18", options={"no_such_thing": 1}).build(HEADS, READER, 0)


class Payload:
    """Would run code when unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (eval, ("1 / 0",))


def test_pickled_weights_are_refused(tmp_path: Path) -> None:
    torch.save({"model": Payload()}, tmp_path / "bad.pth")
    (tmp_path / "plain.pth").write_bytes(pickle.dumps(Payload()))
    for name in ("bad.pth", "plain.pth"):
        with pytest.raises(BadInput, match="can run code"):
            TorchvisionModel("squeezenet1_0", weights=str(tmp_path / name)).build(HEADS, READER, 0)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (lambda p: p.write_bytes(b""), "cannot be read"),
        (lambda p: torch.save([1, 2], p), "do not hold a state dict"),
        (
            lambda p: torch.save(nn.Linear(2, 2).state_dict(), p),
            "another architecture than SqueezeNet: 50 tensors missing, 2 unexpected",
        ),
        (lambda p: None, "are not a file"),
    ],
)
def test_unusable_weights_are_explained(tmp_path: Path, content: object, message: str) -> None:
    content(tmp_path / "weights.pth")
    with pytest.raises(BadInput, match=message):
        TorchvisionModel("squeezenet1_0", weights=str(tmp_path / "weights.pth")).build(HEADS, READER, 0)


def test_damaged_safetensors_are_explained(tmp_path: Path) -> None:
    (tmp_path / "w.safetensors").write_bytes(b"\x10\x00\x00\x00\x00\x00\x00\x00nonsense")
    with pytest.raises(BadInput, match="not a readable safetensors file"):
        TimmModel("mobilevit_xxs", weights=str(tmp_path / "w.safetensors")).build(HEADS, READER, 0)


def test_weights_that_cannot_be_downloaded_are_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: object, **__: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr("torch.hub.load_state_dict_from_url", offline)
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", offline)
    with pytest.raises(BadInput, match="cannot be downloaded"):
        TorchvisionModel("squeezenet1_0", weights="default").build(HEADS, READER, 0)
    monkeypatch.setattr("timm.create_model", offline)
    with pytest.raises(BadInput, match="cannot be downloaded"):
        TimmModel("mobilevit_xxs", weights="default").build(HEADS, READER, 0)


def test_a_vision_transformer_wants_square_pictures_of_whole_patches() -> None:
    with pytest.raises(BadInput, match="square"):
        TorchvisionModel("vit_b_16").build(HEADS, Input(Resize(64, 32)), 0)
    with pytest.raises(BadInput, match="cannot be made for 65 x 65"):
        TorchvisionModel("vit_b_16").build(HEADS, Input(Resize(65, 65)), 0)


def test_models_with_auxiliary_classifiers_return_logits_in_training() -> None:
    built = TorchvisionModel("googlenet").build(HEADS, READER, 0).train()
    assert built(torch.rand(2, 1, 64, 64)).shape == (2, 5)


def test_small_cnn_is_as_big_as_it_says_and_has_stride_8() -> None:
    built = SmallCNN().build(HEADS[:1], Input(Resize(96, 96)), 0)
    assert round(sum(p.numel() for p in built.parameters()), -3) == 106_000
    assert built.layer()(built.normalize(torch.rand(1, 1, 96, 96))).shape == (1, 128, 12, 12)
    assert built.layer()[-3].kernel_size == (1, 1)


@given(st.integers(0, 2**31), st.sampled_from([1.0, 2.0, 3.5]))
def test_generalized_mean_is_the_formula_and_lies_between_mean_and_maximum(seed: int, p: float) -> None:
    maps = torch.rand(2, 3, 4, 5, generator=torch.Generator().manual_seed(seed)) + 0.01
    pooled = GeneralizedMean(p)(maps)
    slow = np.array([[np.mean(m.numpy().astype(float) ** p) ** (1 / p) for m in row] for row in maps])
    np.testing.assert_allclose(pooled, slow, rtol=1e-4)
    assert (pooled >= maps.mean((2, 3)) - 1e-5).all()
    assert (pooled <= maps.amax((2, 3)) + 1e-5).all()


@pytest.mark.parametrize("fields", [{"width": 3}, {"p": 0.5}])
def test_small_cnn_refuses_impossible_fields(fields: dict[str, float]) -> None:
    with pytest.raises(BadInput, match="expected an even width"):
        SmallCNN(**fields)


def test_small_attention_refuses_heads_that_do_not_divide() -> None:
    with pytest.raises(BadInput, match="divides 4 x width"):
        SmallAttention(attention_heads=3)
