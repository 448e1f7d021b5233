"""JAX configuration of the process: one device per CPU core, and a compilation cache on disk."""

import hashlib
import os
import platform
from pathlib import Path

import jax

from jaxrec.data.sources.download import cache_dir


def use_all_cores() -> None:
    """Make every CPU core a device, so that members of a population run in parallel, and cache compiled programs.

    Has no effect once JAX is initialized. A cache that is configured already (`JAX_COMPILATION_CACHE_DIR`) is kept.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        jax.config.update("jax_num_cpu_devices", cores)
    except RuntimeError:
        return
    if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ:
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)  # most programs are small
    if jax.config.values["jax_compilation_cache_dir"]:
        return
    # The cache is specific to this processor model: machines that share the home directory must not load it.
    flags = Path("/proc/cpuinfo").read_text().split("flags", 2)[1:2] if Path("/proc/cpuinfo").exists() else []
    machine = hashlib.sha256(f"{platform.processor()}{platform.machine()}{flags}".encode()).hexdigest()[:8]
    jax.config.update("jax_compilation_cache_dir", str(cache_dir() / f"compiled-{machine}"))
