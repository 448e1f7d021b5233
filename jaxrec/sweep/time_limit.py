"""Work in parts, until a time limit is over."""

import math
import time
from collections.abc import Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")


def in_parts(items: Sequence[T], size: int, until: float) -> Iterator[Sequence[T]]:
    """Yield items in parts while there is time, at least one part; without a time limit, all at once.

    Args:
        items: what to work on.
        size: number of items in the first part. Further parts are multiples of it, as large as the time seems to allow.
        until: end of the time limit, as `time.monotonic` counts.
    """
    n, first = size if until < math.inf else len(items), 0
    while first < len(items):
        started = time.monotonic()
        yield items[first : first + n]
        first, now = first + n, time.monotonic()
        if now >= until:
            return
        n = size * max(1, int((until - now) / max(now - started, 1e-9) * n / size)) if until < math.inf else n
