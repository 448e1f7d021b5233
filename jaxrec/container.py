"""Limits of the container of this process, which are below those of its machine: Docker, Kubernetes, Slurm."""

from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")


def cores() -> float | None:
    """Cores whose time the container may use; None without such a limit."""
    try:
        if (version_2 := CGROUPS / "cpu.max").exists():
            quota, period = version_2.read_text().split()
        else:
            quota, period = ((CGROUPS / "cpu" / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        return int(quota) / int(period) if int(quota) > 0 else None
    except (OSError, ValueError):  # no container, or "max"
        return None


def free_memory() -> int | None:
    """Bytes that the container may still allocate, with what the system would release; None without a limit."""
    try:
        if (version_2 := CGROUPS / "memory.max").exists():
            limit, used, cached = version_2, CGROUPS / "memory.current", "inactive_file"
        else:
            folder, cached = CGROUPS / "memory", "total_inactive_file"
            limit, used = folder / "memory.limit_in_bytes", folder / "memory.usage_in_bytes"
        statistics = dict(line.split() for line in (limit.parent / "memory.stat").read_text().splitlines())
        return max(0, int(limit.read_text()) - int(used.read_text()) + int(statistics[cached]))
    except (OSError, ValueError, KeyError):
        return None
