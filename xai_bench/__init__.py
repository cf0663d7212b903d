"""xai_bench: can the heatmaps of a spine classifier be trusted?"""

from xai_bench import _torchvision_ops as _torchvision_ops  # first: torchvision may not import without it

__version__ = "0.1.0"
