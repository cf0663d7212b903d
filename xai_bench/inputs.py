"""From a native film to what a classifier sees: intensity, resizing, batches. Regions are resized with their film."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray
from torch import Tensor

from xai_bench.errors import BadInput
from xai_bench.protocols import Batch, Player, Players
from xai_bench.samples import Region, RegionKey, RegionState, Sample


@dataclass(frozen=True)
class Resize:
    """To (height, width) pixels, by stretching or letterboxing (aspect kept, zero padding, `content` False there)."""

    height: int = 224
    width: int = 224
    mode: Literal["stretch", "letterbox"] = "stretch"

    def __post_init__(self) -> None:
        if self.height < 1 or self.width < 1:
            raise BadInput(f"Resize(height={self.height}, width={self.width}): both must be at least 1 pixel.")

    def box(self, height: int, width: int) -> tuple[int, int, int, int]:
        """Where a native film of this size lands: (top, left, height, width) in resized pixels."""
        if self.mode == "stretch":
            return 0, 0, self.height, self.width
        scale = min(self.height / height, self.width / width)
        h, w = max(1, round(height * scale)), max(1, round(width * scale))
        return (self.height - h) // 2, (self.width - w) // 2, h, w

    def image(self, picture: Float[Tensor, "c h w"]) -> Float[Tensor, "c height width"]:
        """Antialiased bilinear resizing; values stay in [0, 1]."""
        top, left, h, w = self.box(*picture.shape[1:])
        small = F.interpolate(picture[None], (h, w), mode="bilinear", antialias=True, align_corners=False)[0]
        return self._pad(small.clamp(0, 1), top, left, h, w)

    def mask(self, mask: Bool[Tensor, "h w"]) -> Bool[Tensor, "height width"]:
        """Nearest (pixel centers) resizing of a region."""
        return self._nearest(mask)

    def labels(self, labels: Int[Tensor, "h w"]) -> Int[Tensor, "height width"]:
        """The same of a map of labels; 0 in the padding."""
        return self._nearest(labels)

    def content(self, height: int, width: int) -> Bool[Tensor, "height width"]:
        """True where the film is, False in the padding."""
        top, left, h, w = self.box(height, width)
        return self._pad(torch.ones(1, h, w, dtype=torch.bool), top, left, h, w)[0]

    def points(self, xy: NDArray[np.float64], height: int, width: int) -> NDArray[np.float64]:
        """Native (x, y) coordinates, last axis, in resized pixels (pixel (c, r) covers [c, c+1) x [r, r+1))."""
        top, left, h, w = self.box(height, width)
        return xy * np.array([w / width, h / height]) + np.array([left, top])  # type: ignore[no-any-return]  # float64 too

    def spacing(self, spacing_mm: tuple[float, float] | None, height: int, width: int) -> tuple[float, float]:
        """(row, column) millimeters a pixel after resizing; NaN where the film has none."""
        if spacing_mm is None:
            return float("nan"), float("nan")
        _, _, h, w = self.box(height, width)
        return spacing_mm[0] * height / h, spacing_mm[1] * width / w

    def _nearest(self, values: Tensor) -> Tensor:
        top, left, h, w = self.box(*values.shape)
        small = F.interpolate(values[None, None].float(), (h, w), mode="nearest-exact")[0, 0].to(values.dtype)
        return self._pad(small[None], top, left, h, w)[0]

    def _pad(self, small: Tensor, top: int, left: int, h: int, w: int) -> Tensor:
        return F.pad(small, (left, self.width - left - w, top, self.height - top - h))


@dataclass(frozen=True)
class Intensity:
    """Native gray values to [0, 1], one film at a time.

    `full_range` divides integers by their type's maximum (or by 2**bits - 1 where the film states its bits);
    `percentile` maps [low, high] percent to [0, 1]; `dicom_voi` uses the film's own window (meta: window_center,
    window_width).
    """

    mode: Literal["full_range", "percentile", "dicom_voi"] = "full_range"
    low: float = 0.5
    high: float = 99.5

    def __post_init__(self) -> None:
        if not 0 <= self.low < self.high <= 100:
            raise BadInput(f"Intensity(low={self.low}, high={self.high}): expected 0 <= low < high <= 100 percent.")
        for name in ("low", "high"):  # 1 and 1.0 are the same reading, and must give the same hash
            object.__setattr__(self, name, float(getattr(self, name)))

    def __call__(self, image: NDArray[Any], sample: Sample) -> NDArray[np.float32]:
        """The film in [0, 1]. Raises BadInput for a picture with NaN, or without a window where one is asked for."""
        if not np.isfinite(image).all():
            raise BadInput(f"picture {sample.id!r} holds NaN or infinite values; repair or remove it.")
        if self.mode == "percentile":
            low, high = np.percentile(image, [self.low, self.high])
        elif self.mode == "dicom_voi":
            if "window_center" not in sample.meta or "window_width" not in sample.meta:
                raise BadInput(f"picture {sample.id!r} has no DICOM window; use Intensity('percentile') for it.")
            center, width = float(sample.meta["window_center"]), float(sample.meta["window_width"])
            low, high = center - width / 2, center + width / 2
        else:
            low, high = 0.0, full_scale(image, sample)
        scaled = (image.astype(np.float32) - np.float32(low)) / np.float32(max(high - low, 1e-12))
        return np.clip(scaled, 0, 1, dtype=np.float32)  # type: ignore[no-any-return]  # float32, whatever the stubs say


def full_scale(image: NDArray[Any], sample: Sample) -> float:
    """The largest value that the film's type (or its stated bits) can hold."""
    if "bits" in sample.meta:
        return float(2 ** int(sample.meta["bits"]) - 1)
    return float(np.iinfo(image.dtype).max) if np.issubdtype(image.dtype, np.integer) else 1.0


@dataclass(frozen=True)
class Input:
    """How a classifier wants its films; part of its card and of every key."""

    resize: Resize = Resize()
    intensity: Intensity = Intensity()

    def read(self, sample: Sample) -> tuple[Float[Tensor, "c h w"], tuple[int, int]]:
        """One film in [0, 1] at model size, and its native (height, width)."""
        native = sample.read_image()
        if native.ndim not in (2, 3) or 0 in native.shape or (native.ndim == 3 and native.shape[2] != 3):
            raise BadInput(f"picture {sample.id!r} has shape {native.shape}; expected (h, w) or (h, w, 3), not empty.")
        planes = torch.from_numpy(self.intensity(native, sample))
        planes = planes[None] if planes.ndim == 2 else planes.permute(2, 0, 1).contiguous()
        return self.resize.image(planes), (native.shape[0], native.shape[1])


@dataclass(frozen=True)
class Picture:
    """A film as a classifier sees it, with its regions and players at the same size.

    `players` (labels, and who they are) is None where the film was read without; one whose vertebrae are not marked has
    labels 0 and no players.
    """

    sample: Sample
    image: Float[Tensor, "c h w"]
    content: Bool[Tensor, "h w"]
    spacing_mm: tuple[float, float]
    regions: dict[RegionKey, tuple[RegionState, Bool[Tensor, "h w"] | None]]
    players: tuple[Int[Tensor, "h w"], Mapping[int, Player]] | None = None

    @property
    def unmarked(self) -> bool:
        """Whether it was read with its players and has none."""
        return self.players is not None and not self.players[1]


def read_picture(sample: Sample, reader: Input, *, regions: bool = True, players: bool = False) -> Picture:
    """Read one film and, if asked, its regions and players. Raises BadInput where one has not the film's size."""
    image, native = reader.read(sample)
    resized: dict[RegionKey, tuple[RegionState, Tensor | None]] = {}
    for key, region in (sample.read_regions() if regions else {}).items():
        resized[key] = (region.state, _resized(sample, key, region, reader.resize, native))
    spacing = reader.resize.spacing(sample.spacing_mm, *native)
    marked = _players(sample, reader.resize, native) if players else None
    return Picture(sample, image, reader.resize.content(*native), spacing, resized, marked)


def _players(
    sample: Sample, resize: Resize, native: tuple[int, int]
) -> tuple[Int[Tensor, "h w"], Mapping[int, Player]]:
    found = sample.read_players()
    if found is None:
        return torch.zeros(resize.height, resize.width, dtype=torch.int16), {}
    if found.labels.shape != native:
        raise BadInput(
            f"the players of picture {sample.id!r} are {found.labels.shape} pixels, the picture {native}; "
            "draw them at the picture's own size."
        )
    return resize.labels(torch.from_numpy(found.labels)), found.players


def _resized(sample: Sample, key: RegionKey, region: Region, resize: Resize, native: tuple[int, int]) -> Tensor | None:
    if region.mask is None:
        return None
    if region.mask.shape != native:
        raise BadInput(
            f"region {key.name!r} of {key.reference!r} on picture {sample.id!r} is {region.mask.shape} pixels, "
            f"the picture {native}; draw or export the mask at the picture's own size."
        )
    return resize.mask(torch.from_numpy(np.ascontiguousarray(region.mask)))


def to_batch(pictures: Sequence[Picture], targets: Sequence[int]) -> Batch:
    """A batch of pictures of one size, each with the index of the logit to explain; with players if all have them."""
    players = [p.players for p in pictures if p.players is not None]
    channels = max(p.image.shape[0] for p in pictures)
    return Batch(
        images=torch.stack([p.image.expand(channels, -1, -1) for p in pictures]),
        targets=torch.tensor(targets, dtype=torch.long),
        ids=tuple(p.sample.id for p in pictures),
        content=torch.stack([p.content for p in pictures]),
        players=_together(players) if len(players) == len(pictures) else None,
        spacing_mm=torch.tensor([p.spacing_mm for p in pictures], dtype=torch.float32),
    )


def _together(each: Sequence[tuple[Int[Tensor, "h w"], Mapping[int, Player]]]) -> Players:
    return Players(torch.stack([labels for labels, _ in each]).long(), tuple(names for _, names in each))


def to_region(pictures: Sequence[Picture], key: RegionKey) -> tuple[Bool[Tensor, "b h w"], tuple[RegionState, ...]]:
    """One region of every picture, and its state; an absent region is `not_read`, its mask empty."""
    found = [p.regions.get(key, ("not_read", None)) for p in pictures]
    masks = [
        torch.zeros_like(p.content) if m is None else m & p.content for p, (_, m) in zip(pictures, found, strict=True)
    ]
    return torch.stack(masks), tuple(state for state, _ in found)
