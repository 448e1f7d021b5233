"""What the command line asks for, done: one run, a grid of them, or a search; each ends in a table and a directory."""

from jaxrec.launch.grids import grid
from jaxrec.launch.searches import sweep
from jaxrec.launch.single import run
from jaxrec.sweep.tuning import Search

__all__ = ["Search", "grid", "run", "sweep"]
