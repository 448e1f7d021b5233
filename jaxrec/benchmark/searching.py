"""Benchmark of searches: the same space with and without pruning, in batches, and one trial after another."""

import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from optuna.storages import InMemoryStorage
from optuna.study import Study

from jaxrec import experiment
from jaxrec.errors import InputError
from jaxrec.report.occupancy import spans
from jaxrec.settings import Tree, build, put
from jaxrec.sweep.search import search
from jaxrec.sweep.search_settings import Search
from jaxrec.sweep.space import space_from_yaml
from jaxrec.sweep.trials import best, trials_table
from jaxrec.sweep.tuning import Tuning

Timing = tuple[str, list[float], dict[str, float]]  # name, seconds of each search, figures of the last


def searches(tree: Tree, repeats: int) -> list[Timing]:
    """Time whole searches in one warm process, without reading data and the test of the winner.

    Args:
        tree: settings with a search space, e.g. of `sweep=mf`.
        repeats: searches of each kind; a search before them compiles.

    Returns:
        For each kind its seconds, and: best validation, epochs trained over all trials, trials pruned, and the share of
        slot-epochs with a trial until the last trial started. `batches` start together and wait for the slowest; they
        train the same trials as slots if the sampler does not learn (`sweep.sampler=random`).
    """
    if not tree["sweep"]["space"]:
        raise InputError("case=sweep needs a search space: add sweep=NAME, e.g. sweep=mf")
    split, _ = experiment.prepare(tree)
    size = tree["sweep"]["population"]
    kinds: dict[str, dict[str, object]] = {
        f"{size} slots, halving": {"sweep.pruner": "halving"},
        f"{size} slots, no pruning": {"sweep.pruner": "none"},
        f"batches of {size}, no pruning": {"sweep.pruner": "none"},
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
                plan = tuning.plan(chosen)
                step = size if name.startswith("batches") else plan.n_trials
                for n_trials in range(step, plan.n_trials + step, step):
                    part = replace(plan, n_trials=min(n_trials, plan.n_trials))
                    study = search(part, runner, study_name=name, storage=storage, directory=directory)
                elapsed = time.perf_counter() - started
            if repeat:
                seconds.append(elapsed)
            trials = trials_table(study)
            figures |= {
                "best": round(best(study).value or 0.0, 4),
                "epochs": int(trials["epochs"].sum()),
                "pruned": int((trials["state"] == "pruned").sum()),
                "busy": round(_busy(study, chosen.population), 3),
            }
    return timings


def _busy(study: Study, n_slots: int) -> float:
    """Share of slot-epochs with a trial, until the last trial started; 1 if all started at once."""
    placed = spans(study.get_trials(deepcopy=False), best(study))
    last = max(span.start for span in placed)
    used = sum(min(span.end, last) - min(span.start, last) for span in placed)
    return used / (n_slots * last) if last else 1.0


def _single_model(overrides: Sequence[str]) -> Tree:
    raise InputError(f"{overrides[0]}: case=sweep times the search of one model")
