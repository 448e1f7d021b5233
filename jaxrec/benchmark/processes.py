"""Benchmark of whole processes: imports, data, compilation, training, evaluation, results on disk."""

import os
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence

from jaxrec.command_line import ROOT, override
from jaxrec.errors import InputError

Timing = tuple[str, list[float], dict[str, float]]  # name, wall seconds of each process, figures


def processes(command: str, repeats: int, peer: str | None) -> list[Timing]:
    """Time a command of jaxrec, alternately with a peer's.

    Args:
        command: arguments of `jaxrec`; its results are written to a temporary folder.
        repeats: timed processes of each; one before them fills the compilation cache.
        peer: the command of another library; None: none.

    Returns:
        For each command its seconds, and: seconds of the first process, median CPU seconds.

    Raises:
        InputError: a command failed.
    """
    key = "hydra.sweep.dir" if {"-m", "--multirun"} & set(shlex.split(command)) else "hydra.run.dir"
    commands = {f"jaxrec {command.split()[0]}": [sys.executable, "-m", "jaxrec", *shlex.split(command)]}
    commands |= {} if peer is None else {"peer": shlex.split(peer)}
    walls: dict[str, list[float]] = {name: [] for name in commands}
    cpus: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(repeats + 1):
        for name, arguments in commands.items():
            with tempfile.TemporaryDirectory() as folder:
                ours = [] if name == "peer" else [override(key, f"{folder}/results")]
                wall, cpu = _seconds([*arguments, *ours])
            walls[name].append(wall)
            cpus[name].append(cpu)
    medians = {name: round(statistics.median(cpus[name][1:]), 2) for name in commands}
    return [(name, walls[name][1:], {"first_s": round(walls[name][0], 2), "cpu_s": medians[name]}) for name in commands]


def _seconds(arguments: Sequence[str]) -> tuple[float, float]:
    """Wall and CPU seconds of a process."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    before, started = os.times(), time.perf_counter()
    done = subprocess.run(
        arguments, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, errors="replace", check=False
    )
    wall, after = time.perf_counter() - started, os.times()
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
        raise InputError(f"{shlex.join(arguments)} failed: {''.join(last)}")
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return wall, cpu
