"""A worker of a search as a process: its command, its share of the machine, and its shutdown."""

import contextlib
import math
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from optuna.study import Study

from jaxrec.command_line import ROOT, override
from jaxrec.sweep.servers import PASSWORD

LAUNCH = "JAXREC_LAUNCH"  # environment variable of a worker: the launch that it belongs to
STOP = "stop"  # attribute of a study: the launch whose workers are to end after the epoch in training
POLL_SECONDS = 2.0
PREALLOCATE = "XLA_PYTHON_CLIENT_PREALLOCATE"
REPLACED = ("sweep.storage", "hydra/launcher", "overwrite")  # arguments that workers do not get as they are


@dataclass(frozen=True)
class WorkerProcess:
    """One worker of a launch; it can be pickled, and holds no password.

    Attributes:
        command: arguments of Python
        environment: environment variables to add
        cpus: processor cores to use; None: all
        log: file of its output
    """

    command: tuple[str, ...]
    environment: dict[str, str]
    cpus: tuple[int, ...] | None
    log: Path

    def start(self) -> "subprocess.Popen[bytes]":
        """Start the process, in a session of its own: Ctrl-C reaches the parent alone, which stops all."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        environment = {**os.environ, **self.environment}
        if environment.get(PREALLOCATE) == "false":  # see `leave_memory_to_workers`
            del environment[PREALLOCATE]
        if (ROOT / "pyproject.toml").exists():  # a checkout, which may not be installed
            environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), environment.get("PYTHONPATH")]))
        with self.log.open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, *self.command],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        if self.cpus is not None and hasattr(os, "sched_setaffinity"):
            with contextlib.suppress(OSError):  # it has ended
                os.sched_setaffinity(process.pid, self.cpus)
        return process

    def run(self) -> int:
        """Run the process as a job of a launcher, and return its exit code; SIGTERM is passed on."""
        process = self.start()
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.signal(signal.SIGTERM, lambda number, frame: process.terminate())
        return process.wait()

    def last_line(self) -> str:
        """Return the last line of its output, if there is any."""
        with contextlib.suppress(OSError):
            return next(iter(self.log.read_text(errors="replace").split("\n")[-2:-1]), "")
        return ""


def processes(
    launch: str, settings: Mapping[str, object], storage: str | None, directory: Path, n: int, is_here: bool
) -> list[WorkerProcess]:
    """Return the workers of a search, each with the arguments of this process.

    Args:
        launch: a unique name.
        settings: settings of the workers by key, in place of those of this process, e.g. of `sweep.study_name`.
        storage: storage of the study; its password is left in the environment, which local processes and Slurm jobs
            inherit.
        directory: folder of the logs, in `workers`.
        n: number of workers.
        is_here: whether they run on this machine, and share its cores and GPUs.
    """
    kept = [text for text in sys.argv[1:] if not _is_replaced(text.lstrip("+~").split("=", 1)[0], settings)]
    kept += [override(key, value) for key, value in {"sweep.workers": 1, **settings}.items()]
    if storage is not None:
        from jaxrec.sweep.databases import split_password  # here, because it takes long to import

        url, password = split_password(storage) if "://" in storage else (storage, None)
        if password is not None:
            os.environ[PASSWORD] = password
        kept.append(override("sweep.storage", url))
    command = ("-m", "jaxrec", "train", *kept)
    parts = shares(n) if is_here else [(None, {})] * n
    return [
        WorkerProcess(command, {LAUNCH: launch, **environment}, cpus, directory / "workers" / f"{place}.log")
        for place, (cpus, environment) in enumerate(parts)
    ]


def shares(n: int) -> list[tuple[tuple[int, ...] | None, dict[str, str]]]:
    """Divide the cores and GPUs of this machine among `n` processes: cores, and environment variables, of each."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    found: list[tuple[tuple[int, ...] | None, dict[str, str]]] = []
    gpus = _gpus()
    for place in range(n):
        environment: dict[str, str] = {}
        if gpus:
            mine = gpus[place::n] or [gpus[place % len(gpus)]]
            environment["CUDA_VISIBLE_DEVICES"] = ",".join(mine)
            if n > len(gpus):
                share = 0.9 / math.ceil(n / len(gpus))
                environment["XLA_PYTHON_CLIENT_MEM_FRACTION"] = f"{share:.2f}"
        part = tuple(cores[place::n]) or tuple(cores[place % len(cores) :][:1]) if cores else None
        found.append((part, environment))
    return found


def start_here(workers: Sequence[WorkerProcess]) -> list[int]:
    """Run workers on this machine, and return their exit codes."""
    started = [worker.start() for worker in workers]
    return [process.wait() for process in started]


@dataclass(frozen=True)
class Launcher:
    """Runs workers.

    Attributes:
        start: runs workers, and returns their exit codes when all have ended
        is_here: whether they run on this machine, and share its cores and GPUs
    """

    start: Callable[[Sequence[WorkerProcess]], Sequence[int]]
    is_here: bool


HERE = Launcher(start_here, is_here=True)


def leave_memory_to_workers() -> None:
    """Make this process take only the memory of a GPU that it needs, before JAX is initialized."""
    os.environ.setdefault(PREALLOCATE, "false")


@contextmanager
def stopped_with_launch(study: Study) -> Iterator[None]:
    """End this process like Ctrl-C when the launch that it belongs to is stopped, or the process that started it dies.

    The signal is SIGTERM, which commands handle like Ctrl-C: shells start background jobs with SIGINT ignored.
    """
    is_over, parent = threading.Event(), os.getppid()

    def watch() -> None:
        while not is_over.wait(POLL_SECONDS):
            with contextlib.suppress(Exception):  # the server is away for a moment
                if os.getppid() != parent or study.user_attrs.get(STOP) == os.environ[LAUNCH]:
                    os.kill(os.getpid(), signal.SIGTERM)
                    return

    thread = threading.Thread(target=watch, name="stop", daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()


def _is_replaced(key: str, settings: Mapping[str, object]) -> bool:
    return key in (*REPLACED, *settings, "sweep.workers") or key.startswith("hydra.launcher")


def _gpus() -> list[str]:
    """Return the GPUs that CUDA shows to this process; empty without CUDA."""
    if (visible := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [name for name in visible.split(",") if name and name != "-1"]
    folder = Path("/proc/driver/nvidia/gpus")
    return [str(place) for place in range(len(list(folder.iterdir())))] if folder.is_dir() else []
