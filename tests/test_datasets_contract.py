"""Every registered dataset keeps the contract: a drawn one, a folder, the private films where they are."""

import numpy as np
import pytest
from annotated_cases import finish, project_of
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


def drawn(request):
    """A phantom whose first four test films two readers have read, one of them not all."""
    films = build("dataset", {"name": "phantom", **phantom(request)})
    folder = request.getfixturevalue("tmp_path") / "annotations"
    database = project_of(folder, [s.read_image() for s in films.samples("test")[:4]], ["anna", "ben"])
    for film in range(1, 5):
        for who in ("anna", "ben")[: 2 if film < 4 else 1]:
            mask = np.zeros((64, 52), bool)
            mask[10:20, 8 + film : 20] = True
            finish(database, film, who, {"column": [mask], "apex": [] if film == 2 else [mask & (np.arange(52) > 14)]})
    return {"films": {"name": "phantom", **phantom(request)}, "project": str(folder)}


FIELDS = {"image_folder": image_folder, "phantom": phantom, "aasce": aasce, "drawn": drawn}


@pytest.mark.parametrize("name", DATASETS)
def test_contract(name, request):
    """With its default fields, unless it needs files or would be large."""
    fields = FIELDS[name](request) if name in FIELDS else {}
    check_dataset(build("dataset", {"name": name, **fields}))
