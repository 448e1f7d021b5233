"""Command implementations: a run, a grid, a search or a comparison; each prints a table and writes a directory."""

from jaxrec.launch.comparisons import compare_models
from jaxrec.launch.contenders import Contender
from jaxrec.launch.grids import grid
from jaxrec.launch.searches import sweep
from jaxrec.launch.seeds import run_seeds
from jaxrec.launch.single import resume, run
from jaxrec.launch.worker_process import HERE, Launcher, WorkerProcess
from jaxrec.sweep.search_settings import Search

__all__ = [
    "HERE",
    "Contender",
    "Launcher",
    "Search",
    "WorkerProcess",
    "compare_models",
    "grid",
    "resume",
    "run",
    "run_seeds",
    "sweep",
]
