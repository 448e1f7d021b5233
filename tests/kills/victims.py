"""Processes that can be killed."""

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

EVENTS = {"open", "os.rename", "os.remove", "os.truncate", "os.mkdir", "os.rmdir"}  # of the file system


def jaxrec(words: Sequence[str]) -> None:
    """Run `jaxrec WORDS`."""
    import jax

    from jaxrec.cli import main

    jax.config.update(
        "jax_traceback_in_locations_limit", 0
    )  # otherwise exports contain the names of the functions that call this
    main(list(words))


class Victim:
    """A process that writes to `out`, with its messages in OUT.log.

    It is a fork of this process, which must not have used JAX; modules imported here are not imported again.

    Args:
        program: what it runs, with `words`.
        words: its arguments.
        out: its folder; file system events in it are counted.
        at: number of the event before which it is killed; 0: never.
        delay: seconds between event and kill.
    """

    def __init__(
        self, program: Callable[[Sequence[str]], None], words: Sequence[str], out: Path, at: int = 0, delay: float = 0
    ) -> None:
        def run() -> None:
            os.setsid()
            with out.with_name(f"{out.name}.log").open("ab") as log:
                os.dup2(log.fileno(), 1)
                os.dup2(log.fileno(), 2)
            os.chdir(out.parent)
            sys.argv = ["jaxrec", *words]
            _watch(str(out), out.with_name(f"{out.name}.events"), at, delay)
            program(words)

        self._process = multiprocessing.get_context("fork").Process(target=run)
        self._process.start()

    @property
    def pid(self) -> int:
        """Id of the process."""
        return self._process.pid or 0

    def wait(self, seconds: float) -> int | None:
        """Wait for the end, at most for `seconds`; return the exit code, or None."""
        self._process.join(seconds)
        return self._process.exitcode


def _watch(folder: str, count: Path, at: int, delay: float) -> None:
    """Count file system events of this process in a folder, one byte in a file for each, and kill it at one of them."""
    n, file = 0, os.open(count, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)

    def die() -> None:
        time.sleep(delay)
        os.kill(os.getpid(), signal.SIGKILL)

    def on_event(event: str, arguments: tuple) -> None:
        nonlocal n
        if event not in EVENTS or not str(arguments[0]).startswith(folder):
            return
        n += 1
        os.write(file, b".")
        if n == at:
            threading.Thread(target=die, daemon=True).start() if delay else die()

    sys.addaudithook(on_event)


def workers_of(folder: Path) -> list[int]:
    """Return the ids of the running worker processes of a search in a folder."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        if "sweep.workers=1" in words and f"hydra.sweep.dir={folder}" in words:
            found.append(int(pid))
    return sorted(found)


def kill(*pids: int) -> None:
    """Kill processes; some may have ended."""
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
