"""What a request is refused with: a status of HTTP and one clear sentence."""

from __future__ import annotations

from typing import Any

from xai_bench.errors import XaiBenchError


class Refusal(XaiBenchError):
    """Answered as `{"error": error, **more}`."""

    def __init__(self, status: int, error: str, **more: Any) -> None:
        super().__init__(error)
        self.status = status
        self.more = more


def missing(what: str) -> Refusal:
    """What does not exist, or belongs to somebody else: the two look the same from outside."""
    return Refusal(404, f"there is no such {what}")
