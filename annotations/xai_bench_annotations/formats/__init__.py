"""Drawings out of a project and into it: COCO JSON, PNG masks, and a JSON of our own that loses nothing."""

from typing import Literal

Format = Literal["coco", "png", "native"]
