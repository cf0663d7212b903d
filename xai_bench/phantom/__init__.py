"""Procedurally drawn spine films with exact truth: the column, what surrounds it, exposure and side markers."""

from xai_bench.phantom.film import Film, draw_ap, draw_lateral, fixed_box

__all__ = ["Film", "draw_ap", "draw_lateral", "fixed_box"]
