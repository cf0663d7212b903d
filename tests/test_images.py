"""Pictures and masks of every kind are read right or refused in one sentence; nothing is repaired in silence."""

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from xai_bench.errors import BadInput
from xai_bench.images import image_size, read_image, read_mask

GRAY = np.arange(6 * 5, dtype=np.uint8).reshape(6, 5) * 8
COLOR = np.stack([GRAY, GRAY[::-1], 255 - GRAY], axis=2)


def save(path, array, mode=None, **options):
    picture = array if isinstance(array, Image.Image) else Image.fromarray(array)
    (picture.convert(mode) if mode else picture).save(path, **options)
    return path


def png(width, height, *, depth=8, kind=0, rows=b""):
    """A PNG from its parts, for what Pillow does not write."""

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def test_gray_color_and_sixteen_bits_keep_their_values(tmp_path):
    deep = GRAY.astype(np.uint16) * 257 + 3
    for name, array in (("gray", GRAY), ("color", COLOR), ("deep", deep)):
        found = read_image(save(tmp_path / f"{name}.png", array), name=name)
        assert found.dtype == array.dtype
        assert (found == array).all() and found.shape == array.shape


def test_color_that_is_gray_becomes_two_dimensional(tmp_path):
    found = read_image(save(tmp_path / "a.png", np.stack([GRAY] * 3, axis=2)), name="a")
    assert (found == GRAY).all() and found.shape == GRAY.shape


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_what_is_transparent_is_black(tmp_path, mode):
    picture = Image.fromarray(GRAY).convert(mode)
    alpha = np.full(GRAY.shape, 255, np.uint8)
    alpha[:3] = 0
    picture.putalpha(Image.fromarray(alpha))
    found = read_image(save(tmp_path / "a.png", picture), name="a")
    assert (found[:3] == 0).all() and (found[3:] == GRAY[3:]).all()


def test_half_transparent_is_half_as_bright(tmp_path):
    color = np.dstack([COLOR, np.full(GRAY.shape, 128, np.uint8)])
    found = read_image(save(tmp_path / "a.png", color), name="a")
    assert np.abs(found - COLOR * (128 / 255)).max() <= 1


def test_palettes_give_their_colors(tmp_path):
    palette = Image.fromarray(GRAY // 100)
    palette.putpalette([0, 0, 0, 200, 10, 20, 30, 40, 250])
    found = read_image(save(tmp_path / "a.png", palette), name="a")
    assert (found == np.array([[0, 0, 0], [200, 10, 20], [30, 40, 250]], np.uint8)[GRAY // 100]).all()
    clear = read_image(save(tmp_path / "b.png", palette, transparency=1), name="b")
    assert (clear == np.array([[0, 0, 0], [0, 0, 0], [30, 40, 250]], np.uint8)[GRAY // 100]).all()


def test_one_bit_pictures_are_black_and_white(tmp_path):
    found = read_image(save(tmp_path / "a.png", GRAY > 99), name="a")
    assert (found == (GRAY > 99) * 255).all() and found.dtype == np.uint8


def test_jpeg_is_read_as_pillow_decodes_it(tmp_path):
    path = save(tmp_path / "a.jpg", COLOR, quality=95)
    assert (read_image(path, name="a") == np.asarray(Image.open(path))).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_that_lies_on_its_side_is_put_upright_and_its_size_with_it(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(tmp_path / "a.png", GRAY, exif=exif)
    stored = {1: GRAY, 2: GRAY[:, ::-1], 3: GRAY[::-1, ::-1], 4: GRAY[::-1], 5: GRAY.T}
    stored |= {6: np.rot90(GRAY, -1), 7: GRAY[::-1, ::-1].T, 8: np.rot90(GRAY)}
    assert (read_image(path, name="a") == stored[orientation]).all()
    assert image_size(path, name="a") == stored[orientation].shape


@pytest.mark.parametrize(
    "content",
    [np.bool_, np.uint8, "0/255", np.uint16, "RGB", "RGBA", "P", "L"],
    ids=lambda c: getattr(c, "__name__", c),
)
def test_masks_of_any_depth_and_layout_mean_the_same(tmp_path, content):
    truth = GRAY > 100
    if content == "0/255":
        picture = Image.fromarray(truth.astype(np.uint8) * 255)
    elif content == "P":
        picture = Image.fromarray(truth.astype(np.uint8)).convert("P")
        picture.putpalette([0, 0, 0, 128, 0, 0])
    elif content in ("RGB", "RGBA", "L"):
        picture = Image.fromarray(truth.astype(np.uint8) * 200).convert(content)
    else:
        picture = Image.fromarray(truth.astype(content))
    found = read_mask(save(tmp_path / "a.png", picture), name="mask")
    assert found.dtype == np.bool_ and (found == truth).all()


def test_a_mask_drawn_on_a_transparent_layer(tmp_path):
    layer = np.zeros((6, 5, 4), np.uint8)
    layer[..., 0] = 255
    layer[2:4, 1:3, 3] = 255
    found = read_mask(save(tmp_path / "a.png", layer), name="mask")
    assert found.sum() == 4 and found[2:4, 1:3].all()


def test_an_all_black_mask_is_empty_and_a_smoothed_one_is_refused(tmp_path):
    assert not read_mask(save(tmp_path / "a.png", np.zeros((4, 4), np.uint8)), name="mask").any()
    with pytest.raises(BadInput, match="mask 'x' holds 29 different values besides black"):
        read_mask(save(tmp_path / "b.png", GRAY), name="mask 'x'")


def test_masks_are_not_read_from_jpeg(tmp_path):
    with pytest.raises(BadInput, match="not a readable PNG picture"):
        read_mask(save(tmp_path / "a.jpg", GRAY), name="mask")


def refused(path, **options):
    with pytest.raises(BadInput) as caught:
        read_image(path, name="picture 'x'", **options)
    text = str(caught.value)
    assert text.startswith("picture 'x'") and str(path) not in text and "\n" not in text
    return text


def test_files_that_are_no_picture_are_refused(tmp_path):
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("not a picture")
    assert "is an empty file" in refused(tmp_path / "empty.png")
    assert "not a readable PNG or JPEG" in refused(tmp_path / "text.png")
    assert "does not exist" in refused(tmp_path / "missing.png")
    assert "is damaged" in refused(tmp_path)


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "BMP", "WEBP"])
def test_other_formats_are_refused_whatever_their_suffix(tmp_path, kind):
    path = tmp_path / "a.png"
    Image.fromarray(GRAY).save(path, format=kind)
    assert "not a readable PNG or JPEG" in refused(path)


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_a_cut_file_is_damaged(tmp_path, suffix):
    path = save(tmp_path / f"a.{suffix}", np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8))
    path.write_bytes(path.read_bytes()[:-700])
    assert "is damaged" in refused(path)


def test_the_size_is_checked_before_anything_is_decoded(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(png(9000, 8000))  # there are no pixels in it: decoding would fail in another way
    assert "9000 x 8000 pixels, over 64 megapixels" in refused(path)
    path.write_bytes(png(60000, 60000))
    assert "60000 x 60000 pixels" in refused(path) or "DecompressionBomb" in refused(path)
    assert "6 x 5" not in refused(save(tmp_path / "b.png", GRAY), max_megapixels=29e-6)
    assert read_image(tmp_path / "b.png", name="b", max_megapixels=30e-6).shape == (6, 5)


def test_ink_colors_and_deep_colors_are_refused(tmp_path):
    assert "color mode CMYK" in refused(save(tmp_path / "a.jpg", COLOR, "CMYK"))
    (tmp_path / "deep.png").write_bytes(png(2, 1, depth=16, kind=2, rows=bytes(1 + 12)))
    assert "16 bits a color channel" in refused(tmp_path / "deep.png")
    (tmp_path / "deep.png").write_bytes(png(2, 1, depth=16, kind=4, rows=bytes(1 + 8)))
    assert "16 bits a color channel" in refused(tmp_path / "deep.png")


def test_an_animation_is_refused(tmp_path):
    frames = [Image.fromarray(GRAY), Image.fromarray(255 - GRAY)]
    frames[0].save(tmp_path / "a.png", save_all=True, append_images=frames[1:])
    assert "holds 2 frames" in refused(tmp_path / "a.png")


@settings(max_examples=150)
@given(st.sampled_from(["PNG", "JPEG"]), st.data())
def test_a_mutated_file_gives_a_picture_or_our_error(tmp_path_factory, kind, data):
    stream = io.BytesIO()
    Image.fromarray(COLOR).save(stream, format=kind)
    content = bytearray(stream.getvalue())
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "mutated"
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    try:
        found = read_image(path, name="picture 'x'", max_megapixels=1)
    except BadInput as error:
        assert str(error).startswith("picture 'x'")
    else:
        assert found.dtype in (np.uint8, np.uint16) and found.ndim in (2, 3)
