"""Workers of a search that was started from Python: each reads the checked search and its data from a file."""

import pickle
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from jaxrec.arguments import REGISTERED
from jaxrec.data.splits.split import Split
from jaxrec.errors import InputError, first_line
from jaxrec.launch.searches import run_part
from jaxrec.launch.worker_process import Launcher, WorkerProcess, start_here
from jaxrec.machine import use_all_cores
from jaxrec.settings import import_targets
from jaxrec.sweep.scratch import scratch_folder
from jaxrec.sweep.search_task import SearchTask

CODE = "from jaxrec.launch.python_workers import main; main()"


def python_launcher(task: SearchTask, split: Split, directory: Path) -> Launcher:
    """Return a launcher whose workers train a search of this process.

    Raises:
        InputError: the search has objects that only exist in this process.
    """
    own = {path: REGISTERED[path] for path in import_targets(task.tuning.tree) if path in REGISTERED}
    if local := [path for path in own if path.startswith("__main__.")]:
        raise InputError(
            f"workers={task.chosen.workers}: other processes cannot import {local[0]}: move it into a module and "
            "import it from there"
        )
    try:
        content = pickle.dumps((replace(task, plan=replace(task.plan, source=None)), split, directory, own))
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise InputError(
            f"workers={task.chosen.workers}: this search cannot be handed to other processes ({first_line(error)})"
        ) from error

    def start(workers: Sequence[WorkerProcess]) -> list[int]:
        with scratch_folder() as folder:  # not in that of the search, where others may write: pickles run code
            file = folder / "search.pickle"
            file.write_bytes(pickle.dumps(sys.path) + content)
            return start_here([replace(worker, command=("-c", CODE, str(file))) for worker in workers])

    return Launcher(start, is_here=True)


def main() -> None:
    """Train trials of the search in the file that the command line names."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as in commands, see `stopped_with_launch`
    try:
        with Path(sys.argv[1]).open("rb") as file:
            sys.path[:] = pickle.load(file)
            task, split, directory, own = pickle.load(file)
        REGISTERED.update(own)
        use_all_cores()
        run_part(task, split, directory)
    except InputError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
