"""Command implementations: a run, a grid or a search; each prints a table and writes a directory."""

from jaxrec.launch.grids import grid
from jaxrec.launch.searches import sweep
from jaxrec.launch.seeds import run_seeds
from jaxrec.launch.single import resume, run
from jaxrec.sweep.tuning import Search

__all__ = ["Search", "grid", "resume", "run", "run_seeds", "sweep"]
