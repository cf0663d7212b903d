"""Models for the CAM methods whose evidence is known by construction, and small transformers."""

from dataclasses import replace

import torch
from torch import nn

from xai_bench.classifiers.classifier import Classifier
from xai_bench.inputs import Input, Resize
from xai_bench.samples import Head
from xai_bench.testing import tiny_batch, tiny_classifier

HEADS = (Head("finding", ("none", "blob")),)
LEFT, RIGHT, BELOW = (slice(4, 12), slice(4, 12)), (slice(4, 12), slice(36, 44)), (slice(22, 30), slice(20, 28))


class Maps(nn.Module):
    """One channel for each patch of the picture (or one for all): its brightness, 0 elsewhere."""

    def __init__(self, patches):
        super().__init__()
        masks = torch.zeros(max(1, len(patches)), 32, 48)
        for mask, (rows, columns) in zip(masks, patches, strict=False):
            mask[rows, columns] = 1
        self.register_buffer("masks", masks if patches else masks + 1)
        self.gain = nn.Parameter(torch.ones(()))

    def forward(self, x):
        return torch.relu(self.gain * self.masks * x)


class Known(nn.Module):
    """Logits (-z, z), z a function of the maps."""

    def __init__(self, patches, score):
        super().__init__()
        self.features, self.score = Maps(patches), score

    def forward(self, x):
        z = self.score(self.features(x))
        return torch.stack([-z, z], 1)


def known(patches, score):
    return Classifier(Known(patches, score), HEADS, cam_layer="features").eval()


def bright():
    """z is the mean brightness."""
    return known([], lambda maps: maps.mean((1, 2, 3)))


def opposing():
    """z is the brightness on the left minus that on the right, of one channel."""
    return known([], lambda maps: maps[..., :24].mean((1, 2, 3)) - maps[..., 24:].mean((1, 2, 3)))


def both():
    """z is positive only where the patch on the left and the one on the right are both bright; below does not count."""

    def score(maps):
        left, right = (maps[:, k][:, *patch].mean((1, 2)) for k, patch in enumerate((LEFT, RIGHT)))
        return torch.relu(left + right - 1)

    return known([LEFT, RIGHT, BELOW], score)


def patches_batch(*patches, count=1, target=1):
    """Black pictures with these patches at brightness 0.9."""
    batch = tiny_batch(tiny_classifier(), count=count)
    images = torch.zeros_like(batch.images)
    for rows, columns in patches:
        images[:, :, rows, columns] = 0.9
    return replace(batch, images=images, targets=torch.full((count,), target))


def no_inplace(classifier):
    """Twins and peers read the activation after the fact, so nothing may overwrite it."""
    for module in classifier.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False
    return classifier


def timm_classifier(name, size=(32, 48), seed=0, **options):
    """A timm model with few random weights and three classes; its logits differ from picture to picture."""
    import timm

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = timm.create_model(name, num_classes=3, **options)
    made = Classifier(model, (Head("finding", ("a", "b", "c")),), reader=Input(Resize(*size))).eval()
    with torch.no_grad():
        model.get_classifier().weight.normal_(0, 3, generator=torch.Generator().manual_seed(seed))
    return made


def tiny_vit(seed=0):
    options = {"img_size": (32, 48), "patch_size": 8, "embed_dim": 16, "depth": 2, "num_heads": 2}
    return timm_classifier("vit_tiny_patch16_224", seed=seed, **options)


def tiny_swin(seed=0):
    options = {"img_size": (64, 96), "window_size": 2, "depths": (1, 1), "embed_dim": 8, "num_heads": (1, 1)}
    return timm_classifier("swin_tiny_patch4_window7_224", (64, 96), seed, **options)


def tokens_to_maps(tokens):
    return tokens[:, 1:].transpose(1, 2).reshape(len(tokens), -1, 4, 6)


MODELS = {
    "cnn": (lambda: no_inplace(tiny_classifier(seed=3)), None),
    "vit": (tiny_vit, tokens_to_maps),
    "swin": (tiny_swin, lambda values: values.permute(0, 3, 1, 2)),
}
"""How to make each, and how its layer's values become maps (b, c, h, w), which is what pytorch-grad-cam asks for."""
