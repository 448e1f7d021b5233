"""A worker process of a search over a function: python -m tests.sweep.searching STORAGE DIRECTORY N_TRIALS TOGETHER.

It starts when TOGETHER processes are ready, and prints the ids of its process and worker.
"""

import os
import sys
import time
from pathlib import Path

from jaxrec.errors import InputError
from jaxrec.sweep import leases
from jaxrec.sweep.outcome import Outcome
from jaxrec.sweep.storage import open_storage
from tests.sweep.recorder import quadratic, sweep

LEASE_SECONDS = 3


def evaluate(batch):
    for params in batch:
        time.sleep(0.1)
        yield Outcome(quadratic(params))


if __name__ == "__main__":
    url, directory, n_trials, together = sys.argv[1], Path(sys.argv[2]), *(int(text) for text in sys.argv[3:])
    leases.LEASE_SECONDS = LEASE_SECONDS
    directory.mkdir(parents=True, exist_ok=True)
    (directory.parent / f"ready-{os.getpid()}").touch()
    while len(list(directory.parent.glob("ready-*"))) < together:
        time.sleep(0.01)
    try:
        sweep(directory, evaluate, storage=open_storage(url, directory), n_trials=n_trials)
    except InputError as error:
        sys.exit(f"error: {error}")
