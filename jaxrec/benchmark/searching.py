"""Benchmark of searches: the same space with and without pruning, and one trial after another."""

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from optuna.storages import InMemoryStorage

from jaxrec import experiment
from jaxrec.errors import InputError
from jaxrec.settings import Tree, build, put
from jaxrec.sweep.search import search
from jaxrec.sweep.space import space_from_yaml
from jaxrec.sweep.trials import best, trials_table
from jaxrec.sweep.tuning import Search, Tuning

Timing = tuple[str, list[float], dict[str, float]]  # name, seconds of each search, figures of the last


def searches(tree: Tree, repeats: int) -> list[Timing]:
    """Time whole searches in one warm process, without reading data and the test of the winner.

    Args:
        tree: settings with a search space, e.g. of `sweep=mf`.
        repeats: searches of each kind; a search before them compiles.

    Returns:
        For each kind its seconds, and: best validation, epochs trained over all trials, trials pruned.
    """
    if not tree["sweep"]["space"]:
        raise InputError("case=sweep needs a search space: add sweep=NAME, e.g. sweep=mf")
    split, _ = experiment.prepare(tree)
    size = tree["sweep"]["population"]
    kinds: dict[str, dict[str, object]] = {
        f"{size} slots, halving": {"sweep.pruner": "halving"},
        f"{size} slots, no pruning": {"sweep.pruner": "none"},
        "one after another, no pruning": {"sweep.pruner": "none", "sweep.population": 1},
    }
    timings: list[Timing] = [(name, [], {}) for name in kinds]
    for repeat in range(repeats + 1):
        for (name, seconds, figures), changes in zip(timings, kinds.values(), strict=True):
            chosen: Search = build(put(tree, changes)["sweep"])
            tuning = Tuning(tree, space_from_yaml(chosen.space), _single_model)
            runner = tuning.runner(split.selection, chosen.population)
            with tempfile.TemporaryDirectory() as folder:
                started = time.perf_counter()
                storage, directory = InMemoryStorage(), Path(folder)
                study = search(tuning.plan(chosen), runner, study_name=name, storage=storage, directory=directory)
                elapsed = time.perf_counter() - started
            if repeat:
                seconds.append(elapsed)
            trials = trials_table(study)
            figures |= {
                "best": round(best(study).value or 0.0, 4),
                "epochs": int(trials["epochs"].sum()),
                "pruned": int((trials["state"] == "pruned").sum()),
            }
    return timings


def _single_model(overrides: Sequence[str]) -> Tree:
    raise InputError(f"{overrides[0]}: case=sweep times the search of one model")
