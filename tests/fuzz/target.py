"""A fuzzing target: random cases, and a check that each must pass."""

import contextlib
import resource
import signal
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.strategies import SearchStrategy

SECONDS = 20  # time limit of a case
MEMORY = 600 << 20  # limit of the rise of peak memory in a case


class Target(NamedTuple):
    """Cases and their check, which raises for a wrong result, or for an error that is not an `InputError`."""

    cases: SearchStrategy[Any]
    check: Callable[[Any], None]

    def run(self, n: int, number: int) -> None:
        """Check `n` cases, the same for the same number; fails with the smallest case found."""

        def bounded(case: Any) -> None:
            with limits():
                self.check(case)

        phases = (Phase.generate, Phase.shrink)
        options = settings(
            max_examples=n, database=None, deadline=None, phases=phases, suppress_health_check=list(HealthCheck)
        )
        seed(number)(options(given(self.cases)(bounded)))()


@contextlib.contextmanager
def limits() -> Iterator[None]:
    """Fail after `SECONDS`, or if the peak of memory rises by more than `MEMORY`."""

    def stop(*_: object) -> None:
        raise TimeoutError(f"a case took more than {SECONDS} s")

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    handler = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
    used = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    assert used < MEMORY, f"a case took {used >> 20} MiB of memory"


def one_line(error: Exception) -> None:
    """Check the message of an `InputError`."""
    assert str(error).strip()
    assert "\n" not in str(error).strip()
    assert "Traceback" not in str(error)


def damaged(content: bytes, changes: list[tuple[str, int, bytes]]) -> bytes:
    """Return bytes of which some are replaced, inserted, deleted, or cut off."""
    for kind, place, new in changes:
        at = place % (len(content) + 1)
        match kind:
            case "replace":
                content = content[:at] + new + content[at + len(new) :]
            case "insert":
                content = content[:at] + new + content[at:]
            case "delete":
                content = content[:at] + content[at + max(1, len(new)) :]
            case "cut":
                content = content[:at]
    return content
