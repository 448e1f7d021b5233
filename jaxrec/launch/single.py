"""Single run: read data, train, evaluate, write the run directory, print the test metrics."""

from pathlib import Path

from jaxrec import experiment, rundir, settings
from jaxrec.console import EpochProgress, fit_line, say
from jaxrec.data.splits.split import Split
from jaxrec.experiment import Result, Selected
from jaxrec.fitting.population import Population
from jaxrec.launch.shown import say_data, test_table
from jaxrec.machine import use_all_cores
from jaxrec.settings import Tree


def run(tree: Tree, directory: Path, overwrite: bool = False) -> Result:
    """Train and evaluate one configuration and write its run directory."""
    settings.check(tree)
    rundir.check_empty(directory, overwrite)
    rundir.make(directory)
    use_all_cores()
    split, load_s = experiment.prepare(tree)
    say_data(split)
    ((_, shared, population),) = settings.populations([tree])
    (result,) = experiment.finish(shared, split, select(shared, split, population), load_s)
    rundir.write(directory, tree, result)
    test_table("test", settings.get(tree, "model._target_").rpartition(".")[2], result)
    say(f"results: {directory}")
    if result.metrics["interrupted"]:
        raise KeyboardInterrupt
    return result


def select(tree: Tree, split: Split, population: Population) -> Selected:
    """Fit a population with a progress display, then print a summary line."""
    with EpochProgress(tree) as progress:
        selected = experiment.select(tree, split.selection, population, progress)
    epochs, monitor = settings.get(tree, "trainer.epochs", 0), settings.get(tree, "eval.monitor")
    say(f"  {fit_line(selected.fit, epochs, monitor)}")
    return selected
