"""Whether what is about to be computed fits into the memory of this machine."""

from pathlib import Path

from jaxrec.errors import InputError

MEMINFO = Path("/proc/meminfo")


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
