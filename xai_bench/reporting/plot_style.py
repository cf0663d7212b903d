"""What all figures share: colors, markers, plain axes, the heading."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Okabe & Ito (2008): told apart by color-blind readers too.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7A5C00", "#444444")
MARKERS = "osD^vPX*"
INK, SOFT, BAND = "#222222", "#8a8a8a", "#e3e3e3"


def plain(axes: Axes) -> None:
    """Two thin gray spines and small ticks."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#bbbbbb")
    axes.tick_params(labelsize=9, colors=INK)


def heading(figure: Figure, text: str) -> None:
    """A bold title at the figure's left."""
    figure.suptitle(text, fontsize=11, fontweight="bold", x=0.01, ha="left", color=INK)
