"""Large arrays on the host: whether they fit into memory, and storage that JAX uses without a copy."""

import math
from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike

from jaxrec.errors import InputError

MEMINFO = Path("/proc/meminfo")
ALIGNMENT = 64  # bytes; an aligned array becomes a JAX array on the CPU as it is, any other is copied


def available() -> int | None:
    """Bytes that can still be used; None where the system does not say."""
    try:
        lines = MEMINFO.read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), None)


def require(needed: int, what: str, instead: str) -> None:
    """Raises an InputError, before any work starts, where fewer bytes are available than needed."""
    there = available()
    if there is not None and needed > there:
        raise InputError(
            f"{what} needs about {needed / 2**30:.1f} GiB of memory, {there / 2**30:.1f} GiB are available: {instead}"
        )


def empty(shape: tuple[int, ...], dtype: DTypeLike = np.float32) -> np.ndarray:
    """An uninitialized array whose storage `jax.device_put` on the CPU shares, on any number of devices."""
    dtype = np.dtype(dtype)
    size = math.prod(shape) * dtype.itemsize
    storage = np.empty(size + ALIGNMENT, np.uint8)
    start = -storage.ctypes.data % ALIGNMENT
    return storage[start : start + size].view(dtype).reshape(shape)
