"""How a process uses its machine: every core a device, compiled programs kept on disk."""

import hashlib
import os
import platform
from pathlib import Path

import jax

from jaxrec.data.sources.download import cache_dir


def use_all_cores() -> None:
    """Makes every core a device, so that members of a population run side by side, and keeps compiled programs on disk.

    Does nothing once JAX has started.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        jax.config.update("jax_num_cpu_devices", cores)
    except RuntimeError:
        return
    # Compiled for this very processor: another one that shares the home directory must not load it.
    flags = Path("/proc/cpuinfo").read_text().split("flags", 2)[1:2] if Path("/proc/cpuinfo").exists() else []
    machine = hashlib.sha256(f"{platform.processor()}{platform.machine()}{flags}".encode()).hexdigest()[:8]
    jax.config.update("jax_compilation_cache_dir", str(cache_dir() / f"compiled-{machine}"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
