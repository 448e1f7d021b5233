"""Paths as users write them."""

import os
from pathlib import Path


def expanded(path: str | os.PathLike[str]) -> Path:
    """Return the path with ~ replaced; kept where there is no such home folder, at which `Path.expanduser` fails."""
    return Path(os.path.expanduser(path))
