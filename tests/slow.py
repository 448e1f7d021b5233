"""Parameters of which only some are tested unless `pytest -m slow` asks for the rest."""

from collections.abc import Iterable
from typing import Any

import pytest


def some_slow(values: Iterable[Any], *slow: Any) -> list[Any]:
    """The values in their order, those named `slow` marked so."""
    return [pytest.param(value, marks=pytest.mark.slow) if value in slow else value for value in values]
