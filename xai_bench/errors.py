"""The errors that a user can meet. Each is one sentence: the value, what was expected, what to do."""


class XaiBenchError(Exception):
    """A user's mistake or bad input; the command line prints it without a traceback and exits with code 2."""


class BadInput(XaiBenchError):
    """A file, a field or an array that cannot be used."""


class UnknownName(XaiBenchError):
    """A name that no registry knows."""


class DuplicateName(XaiBenchError):
    """Two plugins claim one name."""


class Unfit(XaiBenchError):
    """A pair that cannot work together, such as attention rollout and a CNN: the cell is skipped with this reason."""


class CellFailed(XaiBenchError):
    """A plugin failed on a cell, now or in an earlier run; the text is the row's reason."""


class NonDeterministicCell(XaiBenchError):
    """Two processes computed one cell in the same environment, and the results differ."""


def did_you_mean(wrong: str, known: list[str]) -> str:
    """A suggestion to append to an error, or an empty string.

    >>> did_you_mean("gradcam", ["grad_cam", "lime"])
    " Did you mean 'grad_cam'?"
    """
    from difflib import get_close_matches

    close = get_close_matches(wrong, known, n=1, cutoff=0.5)
    return f" Did you mean {close[0]!r}?" if close else ""


class PluginWarning(UserWarning):
    """A third-party plugin that could not be loaded; everything else works."""
