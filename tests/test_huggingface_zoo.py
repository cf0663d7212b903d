"""Hugging Face's image classifiers: made, loaded and explained as any other; skipped without transformers."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from attention_cases import HEADS
from torch import nn
from xai_bench_explainers.chefer_attribution import CheferAttribution
from xai_bench_explainers.gradient_attention import GradientAttention
from xai_bench_explainers.raw_attention import RawAttention

from xai_bench.classifiers._places import placed
from xai_bench.classifiers._recorder import Recorder
from xai_bench.classifiers.attention import read_attention
from xai_bench.classifiers.checkpoint import load_checkpoint, save_checkpoint
from xai_bench.classifiers.classifier import Classifier
from xai_bench.classifiers.huggingface_zoo import HuggingFaceModel
from xai_bench.errors import BadInput, Unfit, UnknownName
from xai_bench.inputs import Input, Resize
from xai_bench.spec import build, spec_of
from xai_bench.testing import check_classifier, check_explainer, tiny_batch

TINY = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32, "patch_size": 8}
SWIN = {"embed_dim": 8, "depths": [2, 2], "num_heads": [1, 2], "window_size": 2, "patch_size": 4}
LIVELY = {"initializer_range": 0.3}  # with 0.02 so many convolutions leave nothing of the picture
MOBILE = {"hidden_sizes": [8, 8, 8], "neck_hidden_sizes": [4, 4, 8, 8, 8, 8, 16], "num_attention_heads": 2, **LIVELY}
KINDS = {"vit": TINY, "deit": TINY, "swin": SWIN, "swinv2": SWIN, "mobilevit": MOBILE, "mobilevitv2": LIVELY}


def config(folder: Path, kind: str, **more: object) -> str:
    file = folder / "config.json"
    file.write_text(json.dumps({"model_type": kind, **KINDS[kind], **more}))
    return str(file)


def made(folder: Path, kind: str, size: tuple[int, int] = (32, 48), **more: object) -> Classifier:
    pytest.importorskip("transformers")
    return HuggingFaceModel(config(folder, kind, **more)).build(HEADS, Input(Resize(*size)), seed=0).eval()


def test_without_transformers_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(BadInput, match=r"pip install 'xai-bench\[hf\]'"):
        build("classifier", "hf:vit").build(HEADS, Input(Resize(32, 32)), seed=0)


@pytest.mark.parametrize(
    ("content", "message"), [(None, "cannot be read as JSON"), ("{", "cannot be read"), ("[1]", "expected an object")]
)
def test_unreadable_configurations(tmp_path: Path, content: str | None, message: str) -> None:
    pytest.importorskip("transformers")
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(BadInput, match=message):
        HuggingFaceModel(str(tmp_path / "config.json")).build(HEADS, Input(Resize(32, 32)), seed=0)


def test_unknown_kinds_and_fields_of_the_wrong_type(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    with pytest.raises(UnknownName, match="Did you mean 'vit'"):
        HuggingFaceModel("vitt").build(HEADS, Input(Resize(32, 32)), seed=0)
    with pytest.raises(BadInput, match="is no configuration of vit"):
        made(tmp_path, "vit", num_hidden_layers="two")


@pytest.mark.parametrize("kind", ["vit", "deit", "swin"])
def test_keeps_the_contract(tmp_path: Path, kind: str) -> None:
    check_classifier(made(tmp_path, kind))


def test_seed_makes_the_weights(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    design, reader = HuggingFaceModel(config(tmp_path, "vit")), Input(Resize(32, 32))
    one, same, other = (design.build(HEADS, reader, seed=s).weights_hash() for s in (0, 0, 1))
    assert one == same != other


def test_weights_of_a_local_folder(tmp_path: Path) -> None:
    """As transformers saves them, with another number of classes; the checkpoint that we save needs no weights file."""
    transformers = pytest.importorskip("transformers")
    fields = transformers.AutoConfig.for_model("vit", **TINY, image_size=32, num_labels=7)
    theirs = transformers.AutoModelForImageClassification.from_config(fields).eval()
    theirs.save_pretrained(tmp_path)
    preprocessor = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.25, 0.25, 0.25], "do_flip_channel_order": True}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(preprocessor))
    design = HuggingFaceModel(str(tmp_path / "config.json"), str(tmp_path / "model.safetensors"))
    ours = design.build(HEADS, Input(Resize(32, 32)), seed=0).eval()
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        expected = theirs.vit((images - 0.5).flip(1) / 0.25).last_hidden_state
        found = ours.model.model.vit(ours.normalize(images).flip(1)).last_hidden_state
        logits = ours.model.model.classifier(expected[:, 0])
        torch.testing.assert_close(found, expected)
        torch.testing.assert_close(ours(images), logits)
    save_checkpoint(ours, tmp_path / "saved", {"architecture": spec_of(design)})
    (tmp_path / "model.safetensors").unlink()
    assert load_checkpoint(tmp_path / "saved")[0].weights_hash() == ours.weights_hash()


def test_weights_for_another_size_are_explained(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    fields = transformers.AutoConfig.for_model("vit", **TINY, image_size=64)
    transformers.AutoModelForImageClassification.from_config(fields).save_pretrained(tmp_path)
    design = HuggingFaceModel(str(tmp_path / "config.json"), str(tmp_path / "model.safetensors"))
    with pytest.raises(BadInput, match=r"picture size.*1 tensors do not fit, such as '.*position_embeddings'"):
        design.build(HEADS, Input(Resize(32, 32)), seed=0)


@pytest.mark.parametrize("kind", list(KINDS))
def test_reading_attention_leaves_the_logits(tmp_path: Path, kind: str) -> None:
    classifier = made(tmp_path, kind, (64, 64))
    images = tiny_batch(classifier, count=2).images
    with torch.no_grad():
        before = classifier(images)
        with Recorder() as recorder:
            torch.testing.assert_close(classifier(images), before, atol=1e-4, rtol=0)
        assert recorder.seen
        assert torch.equal(classifier(images), before)


@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
def test_weights_are_those_that_transformers_returns(tmp_path: Path, implementation: str) -> None:
    classifier = made(tmp_path, "vit")
    images = tiny_batch(classifier).images
    model = classifier.model.model
    model.set_attn_implementation("eager")
    with torch.no_grad():
        theirs = model(classifier.normalize(images), output_attentions=True).attentions
    model.set_attn_implementation(implementation)
    ours = read_attention(classifier, images)
    assert (ours.n_prefix_tokens, ours.grid, ours.read_out) == (1, (4, 6), (0,))
    torch.testing.assert_close(ours.weights, tuple(theirs), atol=1e-5, rtol=1e-4)


def test_only_the_class_token_of_deit_is_read(tmp_path: Path) -> None:
    found = read_attention(made(tmp_path, "deit"), torch.rand(1, 1, 32, 48))
    assert (found.n_prefix_tokens, found.grid, found.read_out) == (2, (4, 6), (0,))


@pytest.mark.parametrize(
    ("kind", "size", "grid"),
    [
        ("vit", (32, 48), (4, 6)),
        ("swin", (32, 48), (4, 6)),
        ("swinv2", (32, 48), (4, 6)),
        ("mobilevit", (64, 96), (2, 4)),
        ("mobilevitv2", (64, 128), (2, 4)),
    ],
)
def test_the_last_attention_has_a_map(tmp_path: Path, kind: str, size: tuple[int, int], grid: tuple[int, int]) -> None:
    classifier = made(tmp_path, kind, size)
    batch = tiny_batch(classifier, count=2)
    for explainer in (RawAttention(), GradientAttention()):
        maps = explainer(classifier, batch)
        assert maps.shape == (2, *grid)
        assert (maps > 0).any()


def test_explainers_keep_the_contract(tmp_path: Path) -> None:
    classifier = made(tmp_path, "vit")
    check_explainer(CheferAttribution(), classifier)
    with pytest.raises(Unfit, match="within windows"):
        CheferAttribution()(made(tmp_path, "swin"), tiny_batch(classifier))


@pytest.mark.parametrize("kind", ["swin", "swinv2"])
@pytest.mark.parametrize("size", [(6, 9), (5, 7), (3, 3)])
@pytest.mark.parametrize("shift", [0, 1])
def test_window_partition_is_undone(kind: str, size: tuple[int, int], shift: int) -> None:
    """The told places are what the block's own code makes of a picture of the cells' numbers."""
    transformers = pytest.importorskip("transformers")
    fields = transformers.AutoConfig.for_model(kind, **{**SWIN, "window_size": 3})
    if kind == "swin":
        from transformers.models.swin.modeling_swin import SwinLayer as Layer
    else:
        from transformers.models.swinv2.modeling_swinv2 import Swinv2Layer as Layer
    block = Layer(fields, 4, size, 1, shift_size=shift).eval()
    if kind == "swin":
        block.layernorm_before = nn.Identity()
    listener, found = SimpleNamespace(places=None), []
    block.attention.register_forward_pre_hook(lambda _m, args: found.append((listener.places, args[0])))
    numbers = (1.0 + torch.arange(size[0] * size[1])).view(1, -1, 1).expand(-1, -1, 4).contiguous()
    with placed(block, listener), torch.no_grad():
        block(numbers, size)
    told, seen = found[0]
    assert told.grid == size
    assert torch.equal(told.cells + 1, seen[..., 0].long())


@pytest.mark.parametrize("kind", ["mobilevit", "mobilevitv2"])
def test_unfolding_is_undone(kind: str) -> None:
    transformers = pytest.importorskip("transformers")
    if kind == "mobilevit":
        from transformers.models.mobilevit.modeling_mobilevit import MobileViTLayer

        block = MobileViTLayer(transformers.MobileViTConfig(**MOBILE), 4, 4, 1, 4, 1).eval()
    else:
        from transformers.models.mobilevitv2.modeling_mobilevitv2 import MobileViTV2Layer

        block = MobileViTV2Layer(transformers.MobileViTV2Config(), 32, 32, 32, n_attn_blocks=1, stride=1).eval()
    block.conv_kxk, block.conv_1x1 = nn.Identity(), nn.Identity()
    listener, found = SimpleNamespace(places=None), []
    block.transformer.register_forward_pre_hook(lambda _m, args: found.append((listener.places, args[0])))
    numbers = (
        (1.0 + torch.arange(24.0)).view(1, 1, 4, 6).expand(-1, 4 if kind == "mobilevit" else 32, -1, -1).contiguous()
    )
    with placed(block, listener), torch.no_grad():
        block(numbers)
    told, seen = found[0]
    assert torch.equal(told.cells + 1, (seen[0, 0] if kind == "mobilevitv2" else seen[..., 0]).long())


def test_cam_methods_look_before_the_last_attention(tmp_path: Path) -> None:
    classifier = made(tmp_path, "vit")
    assert classifier.cam_layer is not None
    assert classifier.cam_layer.endswith("layers.1.layernorm_before")
    assert build("explainer", "grad_cam")(classifier, tiny_batch(classifier)).shape[1:] == (4, 6)
