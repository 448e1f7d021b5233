"""Single run: read data, train, evaluate, write the run directory, print the test metrics."""

import shutil
import tempfile
from pathlib import Path

from jaxrec import cluster, experiment, rundir, settings
from jaxrec.atomic_files import remove_mark
from jaxrec.command_line import command, override
from jaxrec.console import EpochProgress, fit_line, say, say_results
from jaxrec.data.splits.split import Split
from jaxrec.errors import InputError
from jaxrec.experiment import Result, Selected
from jaxrec.fitting.population import Population
from jaxrec.fitting.saved_slots import STATES, SavedSlots
from jaxrec.launch.terminal_tables import say_data, test_table
from jaxrec.machine import use_all_cores
from jaxrec.settings import Tree


def run(tree: Tree, directory: Path, overwrite: bool = False) -> Result:
    """Train and evaluate one configuration and write its run directory.

    A run of the same settings that was killed is continued from its last saved training state.
    """
    settings.check(tree)
    rundir.check_empty(directory, overwrite)
    with rundir.exclusive(rundir.make(directory)):
        if overwrite:
            remove_mark(directory / "metrics.json")  # the old results have other settings than those written now
            shutil.rmtree(directory / STATES, ignore_errors=True)
        return _run(tree, directory)


def resume(directory: Path) -> Result:
    """Continue a run that was killed or interrupted, with the settings in its folder."""
    tree = rundir.check_resumable(directory)
    settings.check(tree)
    if not cluster.is_first():
        with tempfile.TemporaryDirectory() as own:
            return _run(tree, Path(own), directory)
    with rundir.exclusive(directory):
        return _run(tree, directory)


def _run(tree: Tree, directory: Path, first: Path | None = None) -> Result:
    """Run in a directory; `first` is that of the first process of the run, which holds the training states."""
    first = cluster.broadcast_path(first or directory)
    rundir.write_config(directory, tree)  # first: a run that is killed can then be continued
    use_all_cores()
    split, load_s = experiment.prepare(tree)
    say_data(split)
    saved = rundir.saved_slots(first / STATES, [tree], split.selection)
    saved.writes = cluster.is_first()
    ((_, shared, population),) = settings.populations([tree])
    if cluster.broadcast(saved.epoch) != saved.epoch:
        raise InputError(f"{saved.directory} must be on a disk that all processes of the run read")
    if epoch := saved.epoch:
        say(f"  continuing after epoch {epoch}")
    (result,) = experiment.finish(shared, split, select(shared, split, population, saved), load_s)
    rundir.write(directory, tree, result)
    test_table("test", settings.target_name(tree["model"]), result)
    say_results(directory)
    if result.metrics["interrupted"]:
        say(f"to continue: {command('train', override('resume', str(directory)))}")
        raise KeyboardInterrupt
    saved.remove()
    return result


def select(tree: Tree, split: Split, population: Population, saved: SavedSlots | None = None) -> Selected:
    """Fit a population with a progress display, then print a summary line."""
    if split.selection.validation is None and (patience := settings.get(tree, "trainer.patience")):
        say(
            f"  note: without validation data trainer.patience={patience} has no effect: all "
            f"{settings.get(tree, 'trainer.epochs')} epochs are trained, and the last is kept"
        )
    with EpochProgress(tree) as progress:
        selected = experiment.select(tree, split.selection, population, progress, saved)
    epochs, monitor = settings.get(tree, "trainer.epochs", 0), settings.get(tree, "eval.monitor")
    say(f"  {fit_line(selected.fit, epochs, monitor)}")
    return selected
