"""Every registered dataset keeps the contract: a drawn one, a folder, the private films where they are."""

import numpy as np
import pytest
from PIL import Image

from xai_bench.registry import DATASETS
from xai_bench.spec import build
from xai_bench.testing import check_dataset


def image_folder(request):
    """Eight patients a class, a drawn, an empty and an absent mask."""
    tmp_path = request.getfixturevalue("tmp_path")
    rng = np.random.default_rng(0)
    for label in ("ill", "well"):
        for number in range(8):
            film = tmp_path / label / f"{label}-{number}.png"
            film.parent.mkdir(exist_ok=True)
            Image.fromarray(rng.integers(0, 256, (20, 30), np.uint8)).save(film)
            if label == "ill" and number != 3:
                mask = np.zeros((20, 30), np.uint8)
                mask[4:9, 5:12] = 255 * (number != 5)
                path = tmp_path / "masks" / "reader-a" / "lesion" / film.name
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(mask).save(path)
    return {"path": str(tmp_path), "finding_classes": ["ill"]}


def phantom(_request):
    return {"view": "both", "films": {"train": 12, "validation": 6, "test": 6}, "height": 64, "width": 52}


def aasce(request):
    return {"path": str(request.getfixturevalue("aasce_folder"))}


FIELDS = {"image_folder": image_folder, "phantom": phantom, "aasce": aasce}


@pytest.mark.parametrize("name", DATASETS)
def test_contract(name, request):
    """With its default fields, unless it needs files or would be large."""
    fields = FIELDS[name](request) if name in FIELDS else {}
    check_dataset(build("dataset", {"name": name, **fields}))
