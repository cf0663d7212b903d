"""Resizing, intensity, padding, spacing: films and regions go through one transform."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from xai_bench.errors import BadInput
from xai_bench.inputs import Input, Intensity, Resize, read_picture, to_batch, to_region
from xai_bench.pictures import pad
from xai_bench.samples import Region, RegionKey, Sample


def sample(image: np.ndarray, mask: np.ndarray | None = None, **changes: object) -> Sample:
    regions = {} if mask is None else {RegionKey("r", "derived"): Region("drawn", mask)}
    values = {
        "id": "a",
        "patient": "p",
        "labels": {},
        "read_image": lambda: image,
        "digest": "d",
        "read_regions": lambda: regions,
    }
    return Sample(**values | changes)  # type: ignore[arg-type]  # the test chooses


@given(st.integers(5, 60), st.integers(5, 60), st.integers(8, 40), st.integers(8, 40))
def test_letterbox_keeps_the_aspect_and_centers(height: int, width: int, to_height: int, to_width: int) -> None:
    resize = Resize(to_height, to_width, "letterbox")
    top, left, h, w = resize.box(height, width)
    assert h == to_height or w == to_width
    assert abs(h / height - w / width) <= max(1 / height, 1 / width)
    content = resize.content(height, width)
    assert content.shape == (to_height, to_width) and int(content.sum()) == h * w
    assert abs((to_height - h) - 2 * top) <= 1 and abs((to_width - w) - 2 * left) <= 1


def test_padding_is_zero_and_not_content() -> None:
    read = read_picture(
        sample(np.full((40, 10), 255, np.uint8), np.ones((40, 10), bool)), Input(Resize(20, 20, "letterbox"))
    )
    assert torch.equal(read.image[0] > 0, read.content)
    (state, mask) = read.regions[RegionKey("r", "derived")]
    assert state == "drawn" and mask is not None and torch.equal(mask, read.content)


@given(st.integers(0, 30), st.integers(0, 12))
def test_points_and_masks_move_alike(row: int, column: int) -> None:
    mask = np.zeros((62, 26), bool)
    mask[2 * row : 2 * row + 2, 2 * column : 2 * column + 2] = True
    for resize in (Resize(31, 13), Resize(31, 31, "letterbox")):
        center = resize.points(np.array([[2 * column + 1.0, 2 * row + 1.0]]), 62, 26)[0]
        found = resize.mask(torch.from_numpy(mask)).nonzero().float().mean(0) + 0.5
        assert np.allclose(found.flip(0).numpy(), center, atol=1e-5)


def test_spacing_is_that_of_the_resized_film() -> None:
    assert Resize(50, 50).spacing((0.2, 0.1), 100, 200) == (0.4, 0.4)
    assert np.isnan(Resize().spacing(None, 10, 10)).all()


@pytest.mark.parametrize(("dtype", "top"), [(np.uint8, 255), (np.uint16, 65535)])
def test_full_range_uses_the_type(dtype: type, top: int) -> None:
    image = np.array([[0, top]], dtype)
    assert Intensity()(image, sample(image)).tolist() == [[0.0, 1.0]]


def test_stated_bits_percentiles_and_windows() -> None:
    image = np.array([[0, 2047.5, 4095]]).astype(np.uint16)
    assert Intensity()(image, sample(image, meta={"bits": 12}))[0, 2] == 1.0
    wide = np.arange(101, dtype=np.uint16)[None]
    assert Intensity("percentile", 10, 90)(wide, sample(wide))[0, [5, 50, 95]].tolist() == [0.0, 0.5, 1.0]
    windowed = Intensity("dicom_voi")(wide, sample(wide, meta={"window_center": 50, "window_width": 20}))
    assert windowed[0, [39, 50, 61]].tolist() == [0.0, 0.5, 1.0]


def test_bad_pictures_are_one_sentence() -> None:
    nan = np.array([[0.0, np.nan]])
    with pytest.raises(BadInput, match="'a' holds NaN"):
        Intensity()(nan, sample(nan))
    with pytest.raises(BadInput, match="no DICOM window"):
        Intensity("dicom_voi")(np.zeros((2, 2)), sample(np.zeros((2, 2))))
    with pytest.raises(BadInput, match=r"shape \(2, 2, 4\)"):
        Input().read(sample(np.zeros((2, 2, 4), np.uint8)))
    with pytest.raises(
        BadInput, match=r"region 'r' of 'derived' on picture 'a' is \(3, 3\) pixels, the picture \(4, 4\)"
    ):
        read_picture(sample(np.zeros((4, 4), np.uint8), np.ones((3, 3), bool)), Input())
    with pytest.raises(BadInput, match="expected 0 <= low < high"):
        Intensity("percentile", 99, 1)
    with pytest.raises(BadInput, match="at least 1 pixel"):
        Resize(0, 5)


def test_gray_and_color_share_a_batch_and_absent_regions_are_not_read() -> None:
    gray = read_picture(sample(np.zeros((8, 8), np.uint8), np.ones((8, 8), bool)), Input(Resize(8, 8)))
    color = read_picture(sample(np.zeros((8, 8, 3), np.uint8)), Input(Resize(8, 8)))
    batch = to_batch([gray, color], [0, 1])
    assert batch.images.shape == (2, 3, 8, 8)
    region, states = to_region([gray, color], RegionKey("r", "derived"))
    assert states == ("drawn", "not_read") and region.sum((1, 2)).tolist() == [64, 0]


def test_padding_a_batch_repeats_its_last_picture() -> None:
    pictures = [read_picture(sample(np.full((8, 8), v, np.uint8), id=str(v)), Input(Resize(8, 8))) for v in (10, 20)]
    padded = pad(to_batch(pictures, [0, 1]), 4)
    assert padded.ids == ("10", "20", "20", "20") and padded.targets.tolist() == [0, 1, 1, 1]
    assert torch.equal(padded.images[1], padded.images[3])
