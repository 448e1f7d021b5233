"""Large host arrays: a check of available memory, and storage that JAX uses without a copy."""

import math
from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike

from jaxrec import container
from jaxrec.errors import InputError

MEMINFO = Path("/proc/meminfo")
ALIGNMENT = 64  # bytes; aligned arrays become JAX arrays on the CPU without a copy


def available() -> int | None:
    """Available memory in bytes, of the machine and of the container; None if the system does not report it."""
    try:
        lines = MEMINFO.read_text().splitlines()
    except OSError:
        lines = []
    of_machine = [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]
    return min((free for free in (*of_machine, container.free_memory()) if free is not None), default=None)


def require(needed: int, what: str, instead: str) -> None:
    """Raise an InputError, before any work starts, if less memory is available than needed.

    Args:
        needed: bytes.
        what: subject of the error message.
        instead: advice at the end of the message.
    """
    free = available()
    if free is not None and needed > free:
        raise InputError(
            f"{what} needs about {needed / 2**30:.1f} GiB of memory, {free / 2**30:.1f} GiB are available: {instead}"
        )


def empty(shape: tuple[int, ...], dtype: DTypeLike = np.float32) -> np.ndarray:
    """Uninitialized array that `jax.device_put` shares with any number of CPU devices without a copy."""
    dtype = np.dtype(dtype)
    size = math.prod(shape) * dtype.itemsize
    storage = np.empty(size + ALIGNMENT, np.uint8)
    start = -storage.ctypes.data % ALIGNMENT
    return storage[start : start + size].view(dtype).reshape(shape)
