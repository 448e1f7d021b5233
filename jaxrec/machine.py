"""JAX configuration of the process: one device per CPU core, and a compilation cache on disk."""

import hashlib
import math
import os
import platform
from contextlib import AbstractContextManager
from functools import cache
from pathlib import Path

import jax
from threadpoolctl import ThreadpoolController

from jaxrec import container
from jaxrec.data.sources.download import cache_dir
from jaxrec.errors import InputError

UNSET = -1  # value of `jax_num_cpu_devices` unless it is configured


def usable_cores() -> int:
    """Number of cores of this process: those it may run on, at most those of its container, rounded up."""
    own = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(own, math.ceil(container.cores() or own)))


def use_all_cores() -> None:
    """Make every CPU core a device, so that members of a population run in parallel, and cache compiled programs.

    Has no effect once JAX is initialized. A number of devices (`JAX_NUM_CPU_DEVICES`) and a cache
    (`JAX_COMPILATION_CACHE_DIR`) that are configured already are kept.
    """
    try:
        if jax.config.values["jax_num_cpu_devices"] == UNSET:
            jax.config.update("jax_num_cpu_devices", usable_cores())
    except RuntimeError:
        return
    if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ:
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)  # most programs are small
    if jax.config.values["jax_compilation_cache_dir"]:
        return
    # The cache is specific to this processor model: machines that share the home directory must not load it.
    flags = Path("/proc/cpuinfo").read_text().split("flags", 2)[1:2] if Path("/proc/cpuinfo").exists() else []
    machine = hashlib.sha256(f"{platform.processor()}{platform.machine()}{flags}".encode()).hexdigest()[:8]
    if (folder := _writable(f"compiled-{machine}")) is not None:
        jax.config.update("jax_compilation_cache_dir", str(folder))


def _writable(name: str) -> Path | None:
    """Return a folder in the cache; None if it cannot be written: JAX would warn at every program."""
    try:
        folder = cache_dir() / name
        folder.mkdir(parents=True, exist_ok=True)
    except (InputError, OSError):
        return None
    return folder if os.access(folder, os.W_OK | os.X_OK) else None


def single_threaded_blas() -> AbstractContextManager[object]:
    """Within this context, LAPACK calls of programs stay on the core of the device that makes them.

    Otherwise each one, however small, wakes the threads of the BLAS library, which then wait for the next call by
    spinning on the cores of the other devices.
    """
    return _thread_pools().limit(limits=1, user_api="blas")


@cache
def _thread_pools() -> ThreadpoolController:
    return ThreadpoolController()
