"""Parameters of tests, some of which run only with `pytest -m slow`."""

from collections.abc import Iterable
from typing import Any

import pytest


def some_slow(values: Iterable[Any], *slow: Any) -> list[Any]:
    """Return all values in order, those listed in `slow` with the mark."""
    return [pytest.param(value, marks=pytest.mark.slow) if value in slow else value for value in values]
