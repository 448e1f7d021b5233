"""Comparison of models: a search for each on one split, one after another, then one table and one page."""

import hashlib
import json
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import jax
import pandas as pd

from jaxrec import experiment, rundir, settings
from jaxrec.atomic_files import write_text
from jaxrec.compare import compare, verdicts
from jaxrec.console import say, say_results, table
from jaxrec.data.splits.split import Split
from jaxrec.errors import InputError, first_line
from jaxrec.evaluation import cost
from jaxrec.experiment import Result
from jaxrec.fitting.saved_slots import STATES
from jaxrec.launch import searches
from jaxrec.launch.contenders import SHARED, Contender, Work, check_contender, check_shared, on_data
from jaxrec.launch.many_workers import run_workers
from jaxrec.launch.seeds import train_seeds
from jaxrec.launch.single import select
from jaxrec.launch.terminal_tables import say_data, say_undefined
from jaxrec.launch.worker_process import HERE, LAUNCH, Launcher, leave_memory_to_workers
from jaxrec.machine import use_all_cores
from jaxrec.metric_names import larger_is_better
from jaxrec.report.models import models_section, shown_models
from jaxrec.settings import Tree, get, is_random
from jaxrec.sweep.objectives import value_of
from jaxrec.sweep.search_task import SearchTask
from jaxrec.sweep.storage import SWEEPS

FAILURES = (InputError, MemoryError, jax.errors.JaxRuntimeError)  # of one model, which do not end the comparison


def compare_models(
    contenders: Sequence[Contender],
    sweep: Tree,
    seeds: int | None = None,
    directory: Path | None = None,
    overwrite: bool = False,
    launcher: Launcher = HERE,
) -> pd.DataFrame | None:
    """Search for the best settings of each model, test them, and compare the models; or continue to do so.

    Args:
        contenders: the models.
        sweep: settings of the group `sweep`: limits and algorithm of every search.
        seeds: number of seeds with which the best settings of each model are trained; None: one.
        directory: output directory; None: one named after the study.
        overwrite: replace other results in `directory`.
        launcher: runs the workers of each search, if there are several.

    Returns:
        One row per model, best validation first; also written as `comparison.csv`. None if this process is one of
        several workers.

    Raises:
        InputError: an invalid setting, models that do not share a split, or all models failed.
        KeyboardInterrupt: after an interrupt, when the table of the models so far is written.
    """
    study = str(sweep["study_name"] or _study_name(contenders[0].tree))
    directory = directory or SWEEPS / study
    works = [check_contender(each, sweep, seeds, study, directory / each.name) for each in contenders]
    check_shared(contenders)
    rundir.check_empty(directory, overwrite, "comparison")
    for work in works:
        work.check_folder()
    if sweep["workers"] > 1:
        leave_memory_to_workers()
    use_all_cores()
    tree = contenders[0].tree
    split, load_s = experiment.prepare(tree)
    works = [on_data(work, split) for work in works]
    say_data(split)
    if LAUNCH in os.environ:
        for work in works:
            if work.task is not None:
                searches.run_part(work.task, split, work.folder)
        return None
    rundir.make(directory)
    failed: dict[str, str] = {}
    interrupt = None
    for place, work in enumerate(works):
        name = work.contender.name
        if work.is_finished:
            say(f"{name} ({place + 1} of {len(works)}): already finished")
            continue
        say(f"{name} ({place + 1} of {len(works)})")
        try:
            _train(work, split, load_s, seeds, overwrite, launcher)
        except KeyboardInterrupt as error:
            interrupt = error
            break
        except FAILURES as error:
            reason = first_line(error) or type(error).__name__
            failed[name] = reason if isinstance(error, InputError) else f"{type(error).__name__}: {reason}"
            say(f"failed: {name}: {failed[name]}")
    found = _finished(works, failed, directory, str(get(tree, "eval.monitor")), is_last=interrupt is None)
    if interrupt is not None:
        say("to continue, run the same command again")
        raise interrupt
    return found


def _train(work: Work, split: Split, load_s: float, seeds: int | None, overwrite: bool, launcher: Launcher) -> None:
    """Train a model, and store its row of the table."""
    rundir.make(work.folder)
    work.store()
    if work.task is None:
        result, tree, numbers = _once(work, split, load_s)
    else:
        result, tree, numbers = _search(work, work.task, split, load_s, overwrite, launcher)
    if seeds is not None and is_random(tree):
        train_seeds(tree, seeds, split, load_s, work.folder / "seeds")
    latency = cost.Latency(result.model, result.known)
    row = {
        **numbers,
        "train_s": result.metrics["time"]["train_s"],
        "n_parameters": experiment.n_parameters(tree, split.selection),
        "latency_ms": round(latency(result.params, result.hyper), 3),
    }
    shutil.rmtree(work.folder / STATES, ignore_errors=True)
    work.store(budget=work.budget, row=row)


def _search(
    work: Work, task: SearchTask, split: Split, load_s: float, overwrite: bool, launcher: Launcher
) -> tuple[Result, Tree, Tree]:
    """Run or continue a search within what is left of its time; return result, settings and numbers of the winner."""
    spent, started = work.state["seconds"], time.monotonic()
    stored = started
    if task.plan.timeout is not None:
        left = max(0.0, task.plan.timeout - spent / 60)
        task = replace(task, plan=replace(task.plan, timeout=left))

    def seconds() -> float:
        return round(spent + time.monotonic() - started, 3)

    def tick() -> None:
        nonlocal stored
        if time.monotonic() - stored > 1:
            stored = time.monotonic()
            work.store(seconds=seconds())

    if task.chosen.workers > 1 and task.plan.timeout != 0:
        own = {
            "sweep.models": [work.contender.name],
            "sweep.study_name": task.name.removesuffix(f"/{work.contender.name}"),
            "sweep.timeout": task.plan.timeout,
            "hydra.sweep.dir": str(work.folder.parent),
        }
        tuned = run_workers(task, split, load_s, work.folder, overwrite, launcher, own, tick)
    else:
        tuned = searches.run(task, split, load_s, work.folder, overwrite, tick)
    work.store(seconds=seconds())
    n_trials = task.plan.counts(tuned.study)[0]
    return tuned.result, tuned.tree, {"validation": value_of(tuned.winner), "trials": n_trials, "search_s": seconds()}


def _once(work: Work, split: Split, load_s: float) -> tuple[Result, Tree, Tree]:
    """Train a model without a search space."""
    tree, started = work.contender.tree, time.monotonic()
    ((_, shared, population),) = settings.populations([tree])
    selected = select(shared, split, population, rundir.saved_slots(work.folder / STATES, [tree], split.selection))
    (result,) = experiment.finish(shared, split, selected, load_s)
    if result.metrics["interrupted"]:
        raise KeyboardInterrupt
    rundir.write(work.folder, tree, result)
    say_undefined([result])
    validation = result.metrics["validation"][get(tree, "eval.monitor")]
    return result, tree, {"validation": validation, "trials": 1, "search_s": round(time.monotonic() - started, 3)}


def _finished(
    works: Sequence[Work], failed: Mapping[str, str], directory: Path, monitor: str, is_last: bool
) -> pd.DataFrame:
    """Write and print the table, the page and the verdicts of the models that are finished."""
    done = [work for work in works if work.is_finished]
    rows = [{"model": w.contender.name, "state": "complete", **w.state["row"], "path": _path(w)} for w in done]
    rows.sort(key=lambda row: -row["validation"] if larger_is_better(monitor) else row["validation"])
    if not rows:
        if is_last:
            raise InputError("; ".join(f"{name}: {reason}" for name, reason in failed.items()))
        return pd.DataFrame()
    order = {row["model"]: place for place, row in enumerate(rows)}
    done.sort(key=lambda work: order[work.contender.name])
    simple = [work for work in done if not is_random(work.contender.tree)]
    reference = (simple or done)[0]
    ordered = [reference, *(work for work in done if work is not reference)]
    compared = compare([str(directory / _path(work)) for work in ordered], monitor, min_settings=1)
    tested = dict(zip((work.contender.name for work in ordered), compared.table.to_dict("records"), strict=True))
    tests = ("value", "low", "high", "seeds", "sd", "difference", "difference_low", "difference_high", "p")
    for row in rows:
        row |= {"test" if key == "value" else key: tested[row["model"]][key] for key in tests}
    found = pd.DataFrame([*rows, *({"model": n, "state": "failed", "error": e} for n, e in failed.items())])
    first = ["model", "state", "validation", "test", "low", "high"]
    found = found[[*first, *(column for column in found if column not in first)]]
    write_text(directory / rundir.COMPARISON_FILE, found.to_csv(index=False))
    lines = verdicts(compared.metric, compared.table)
    page = compared.page(lead=[models_section(found, monitor, reference.contender.name)])
    write_text(directory / "report.html", page)
    table(f"models, by validation {monitor}", shown_models(found, monitor))
    for line in lines:
        say(line)
    best = rows[0]["model"]
    say(f"best by validation: {best}, in {directory / best}")
    say_results(directory)
    return found


def _path(work: Work) -> str:
    """Return the folder of the runs of a model, relative to the comparison."""
    name = work.contender.name
    return f"{name}/seeds" if "seeds" in work.budget else name


def _study_name(tree: Tree) -> str:
    """Return a name with a hash of data, split and evaluation, so that models can be added to a comparison."""
    text = json.dumps({key: tree[key] for key in (*SHARED, "seed", "refit")}, sort_keys=True, default=str)
    return f"compare-{settings.target_name(tree['data']).lower()}-{hashlib.sha256(text.encode()).hexdigest()[:6]}"
