"""Score-CAM: equal to a plain twin and, where masks need no upsampling, to pytorch-grad-cam."""

import pytest
import torch
import torch.nn.functional as F
from cam_cases import no_inplace, patches_batch, tiny_vit
from cam_peer import close, raw_map
from torch import nn
from xai_bench_explainers._cam import CAM
from xai_bench_explainers.score_cam import ChannelScene, ScoreCAM

from xai_bench.classifiers.classifier import Classifier
from xai_bench.engine import Engine
from xai_bench.errors import BadInput
from xai_bench.imputers.blur import Blur
from xai_bench.imputers.noisy_linear import NoisyLinear
from xai_bench.imputers.zero import Zero
from xai_bench.inputs import Input, Resize
from xai_bench.running.workbench import Counter
from xai_bench.samples import Head
from xai_bench.score_cache import ScoreCache
from xai_bench.testing import tiny_batch, tiny_classifier


def plain_twin(classifier, batch, imputer, score):
    """Algorithm 1 of the paper, channel by channel; what the background scores is subtracted, as it is there."""
    activation, background, maps = CAM().activation(classifier, batch), imputer(batch), []
    for i, target in enumerate(batch.targets.tolist()):
        scores = []
        for channel in activation[i]:
            large = F.interpolate(channel[None, None], batch.images.shape[2:], mode="bilinear", align_corners=False)
            mask = (large - large.min()) / (large.max() - large.min())
            with torch.no_grad():
                logits = classifier(batch.images[i : i + 1] * mask + background[i : i + 1] * (1 - mask))
                empty = classifier(background[i : i + 1])
            values = [classifier.probabilities(z) if score == "probability" else z for z in (logits, empty)]
            scores.append(values[0][0, target] - values[1][0, target])
        weights = torch.stack(scores).exp() / torch.stack(scores).exp().sum()
        maps.append((weights[:, None, None] * activation[i]).sum(0).clamp(min=0))
    return torch.stack(maps)


@pytest.mark.parametrize("make", [tiny_classifier, tiny_vit])
@pytest.mark.parametrize(("imputer", "score"), [(Zero(), "logit"), (Blur(), "probability")])
def test_equals_the_plain_twin(make, imputer, score):
    classifier = make()
    batch = tiny_batch(classifier)
    ours = ScoreCAM(imputer=imputer, score=score)(classifier, batch)
    # The channels of a normed token add up to 0, so that nearly equal weights leave the last digits.
    assert close(ours, plain_twin(classifier, batch, imputer, score), 1e-3)


def full_size():
    """A layer of the picture's size."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        parts = [nn.Conv2d(1, 5, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(80, 3)]
        model = nn.Sequential(*parts)
    head = Head("finding", ("a", "b", "c"))
    return Classifier(model, [head], reader=Input(Resize(32, 48)), cam_layer="1").eval()


def test_equal_to_pytorch_grad_cam_where_nothing_is_upsampled():
    classifier = no_inplace(full_size())
    batch = tiny_batch(classifier)
    assert close(ScoreCAM()(classifier, batch), raw_map("ScoreCAM", classifier, batch))


def test_one_model_evaluation_a_channel_in_batches_of_one_size():
    classifier, sizes = tiny_classifier(), []
    batch = tiny_batch(classifier)
    classifier.engine = Engine(batch_size=5)
    handle = classifier.register_forward_pre_hook(lambda _m, args: sizes.append(len(args[0])))
    with Counter().on(classifier) as count:
        ScoreCAM()(classifier, batch)
    handle.remove()
    assert sizes == [4] + [5] * 7  # 8 channels of 4 pictures, and before that the activations
    assert count.evaluations == 4 + 35 and classifier.engine.answered == 32
    assert ScoreCAM().evaluations > 8  # an estimate for models as they are used


def test_a_constant_channel_hides_everything_and_divides_by_nothing():
    batch = patches_batch()
    scene = ChannelScene.through(batch, Zero(), torch.ones(1, 3, 4, 6))
    assert not scene.masks(torch.tensor([0]), torch.tensor([2])).any()
    assert not scene.compose(torch.tensor([0]), torch.tensor([[False, True]])).any()


def test_masks_go_from_0_to_1_whatever_the_activation():
    scene = ChannelScene.through(patches_batch(), Zero(), torch.tensor([[[[-3.0, 5.0], [1.0, 1.0]]]]))
    mask = scene.masks(torch.tensor([0]), torch.tensor([0]))
    assert (mask.min(), mask.max()) == (0, 1)


def test_the_score_cache_tells_layers_apart(tmp_path):
    classifier, alone = tiny_classifier(), tiny_classifier()
    batch = tiny_batch(classifier)
    classifier.engine = Engine(cache=ScoreCache(tmp_path))
    for layer in ("3", "4"):  # as many channels each
        ours = ScoreCAM(layer)(classifier, batch)
        asked = classifier.engine.answered
        assert torch.equal(ours, ScoreCAM(layer)(alone, batch))
        assert torch.equal(ours, ScoreCAM(layer)(classifier, batch)) and classifier.engine.answered == asked


def test_an_imputer_that_must_know_what_is_hidden_is_refused():
    with pytest.raises(BadInput, match="'noisy_linear' needs to know which pixels are hidden"):
        ScoreCAM(imputer=NoisyLinear())
