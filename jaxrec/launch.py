"""What the command line asks for, done: one run, every combination of a grid, or a search; each ends in a table."""

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from itertools import product
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import yaml
from optuna.trial import FrozenTrial
from pydantic import NonNegativeInt, PositiveInt

from jaxrec import experiment, rundir, settings
from jaxrec.checkpoint import write_text
from jaxrec.combinations import check_validated
from jaxrec.command_line import command, override
from jaxrec.console import Epochs, TrialsLeft, fit_line, say, table
from jaxrec.data.notices import notices
from jaxrec.data.split import Split
from jaxrec.errors import InputError
from jaxrec.experiment import Result, Selected
from jaxrec.fitting.population import Population
from jaxrec.machine import use_all_cores
from jaxrec.metric_names import LABELS, RANKED, SAMPLED, VALUES, larger_is_better
from jaxrec.report.grid_report import Row, by_validation, grid_report, runs_table
from jaxrec.report.report import sweep_report
from jaxrec.settings import Tree
from jaxrec.sweep.effects import check_effects
from jaxrec.sweep.search import Outcome, search
from jaxrec.sweep.space import Space, space_from_yaml
from jaxrec.sweep.storage import open_storage, without_password
from jaxrec.sweep.trials import best, in_short, leaderboard, shown_params
from jaxrec.sweep.verdict import verdict


@dataclass(frozen=True)
class Search:
    """What conf/sweep sets; the comments there say what each key means."""

    n_trials: PositiveInt
    population: PositiveInt
    sampler: Literal["tpe", "random", "cmaes", "qmc", "nsga2", "grid"]
    seed: NonNegativeInt
    refit: bool
    space: dict[str, Any]
    tunes: dict[str, Any] = field(default_factory=dict)
    study_name: str | None = None
    storage: str | None = None


SHOWN = (
    *("rmse", "mae", "auc", "log_loss"),
    *("ndcg@10", "recall@10", "hit_rate@10", "coverage@10"),
    *("sampled_ndcg@10", "sampled_hit_rate@10"),
)


SWEEPS = Path("outputs/sweeps")


def run(tree: Tree, directory: Path, overwrite: bool = False) -> Result:
    """One run: trained, measured, written to its directory."""
    settings.check(tree)
    rundir.check_empty(directory, overwrite)
    rundir.make(directory)
    use_all_cores()
    split, load_s = experiment.prepare(tree)
    _say_data(split)
    (result,) = _fit_and_finish(tree, split, load_s)
    rundir.write(directory, tree, result)
    _test_table("test", settings.get(tree, "model._target_").rpartition(".")[2], result)
    say(f"results: {directory}")
    if result.metrics["interrupted"]:
        raise KeyboardInterrupt
    return result


def grid(
    combinations: list[tuple[Tree, list[str]]], directory: Path | None, overwrite: bool = False
) -> list[Result | None]:
    """Every combination once; those that one program can train are one population.

    All are checked before the first is trained. One that fails is named, and None in the results; the others are kept.
    Raises an InputError where all fail.
    """
    trees = [tree for tree, _ in combinations]
    rows = [Row(" ".join(chosen) or "run") for _, chosen in combinations]
    for row, tree in zip(rows, trees, strict=True):
        with _named(row, trees):
            settings.check(tree)
    if directory is not None:
        rundir.check_empty(directory, overwrite, "grid")
    use_all_cores()
    splits: dict[str, tuple[Split, float]] = {}
    groups = list(settings.populations(trees))
    for positions, shared, _ in groups:
        if (key := _data_of(shared)) not in splits:
            splits[key] = experiment.prepare(shared)
            _say_data(splits[key][0])
        with _named(rows[positions[0]], trees):
            experiment.check(shared, splits[key][0].selection)
    directory = rundir.make(directory or SWEEPS / f"grid-{datetime.now():%Y%m%d-%H%M%S}")
    for positions, shared, population in groups:
        split, load_s = splits[_data_of(shared)]
        say(" | ".join(rows[p].overrides for p in positions))
        try:
            selected = _select(shared, split, population)
        except InputError as error:
            outcomes: list[Result | str] = [str(error)] * len(positions)
            interrupted = False
        else:
            outcomes = experiment.finish_each(shared, split, selected, load_s)
            interrupted = selected.fit.interrupted
        for position, outcome in zip(positions, outcomes, strict=True):
            name = rows[position].overrides
            if isinstance(outcome, str):
                rows[position] = Row(name, error=outcome)
                say(f"failed: {name}: {outcome}")
            else:
                rows[position] = Row(name, outcome)
                rundir.write(directory / str(position), trees[position], outcome)
        if interrupted:
            say(f"what was finished is in {directory}")
            raise KeyboardInterrupt
    results = [row.result for row in rows]
    first = next((i for i, result in enumerate(results) if result is not None), None)
    if first is None:
        raise InputError("; ".join(f"{row.overrides}: {row.error}" for row in rows))
    tree, found = trees[first], rows[first].result
    assert found is not None
    baseline = experiment.popularity_on_validation(tree, splits[_data_of(tree)][0].selection)
    runs = runs_table(rows, {"validation": baseline, "test": found.metrics["popularity"]})
    monitors = {tree["eval"]["monitor"] for tree in trees}
    monitor = monitors.pop() if len(monitors) == 1 and len(splits) == 1 else None
    write_text(directory / "runs.csv", runs.to_csv(index=False))
    write_text(directory / "report.html", grid_report(directory.name, runs, monitor, found.known.name))
    keys = _shown_keys(found.metrics["test"])
    shown = [
        c for c in ("run", "overrides", *(f"{p}_{key}" for p in ("validation", "test") for key in keys)) if c in runs
    ]
    ranked = by_validation(runs[runs.state != "failed"][shown], monitor)
    essential = ["run", "overrides", *(c for c in (f"{p}_{monitor}" for p in ("validation", "test")) if c in runs)]
    narrow = ranked[essential if len(essential) > 2 else shown[:4]]
    table(
        f"by validation {monitor}" if monitor else "runs", narrow=narrow, frame=ranked, rest=str(directory / "runs.csv")
    )
    _say_undefined([result for result in results if result is not None])
    say(f"results: {directory}")
    return results


@contextmanager
def _named(row: Row, trees: Sequence[Tree]) -> Iterator[None]:
    """Errors say which combination they are about, where there are several."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{row.overrides}: {error}" if len(trees) > 1 else str(error)) from error


def _data_of(tree: Tree) -> str:
    return json.dumps([tree["data"], tree["split"]], default=str)


def sweep(
    tree: Tree,
    space: dict[str, Any],
    compose: Callable[[Sequence[str]], Tree],
    overrides: Sequence[str],
    directory: Path | None,
    overwrite: bool = False,
) -> Result:
    """A search for the best settings by validation; the best trial alone is then trained again and tested."""
    settings.check(tree)
    check_validated(tree)
    chosen: Search = settings.build(tree["sweep"])
    dimensions = space_from_yaml(space)
    leaves = settings.flat(tree)

    def tree_of(params: dict[str, Any]) -> Tree:
        if all(key in leaves for key in params):
            return settings.put(tree, params)
        return compose([override(key, value) for key, value in params.items()])

    corners = _corners(dimensions, leaves)  # the ends of the space are checked before any work starts
    for corner in corners:
        composed = tree_of(corner)
        settings.check(composed)
        for key in dimensions:
            check_effects(composed, key)
    fixed = {k: v for k, v in leaves.items() if not k.startswith("sweep.") and k != "overwrite" and k not in space}
    name = chosen.study_name or _study_name(tree, fixed, space)
    if name.startswith("/") or {"", ".", ".."} & set(name.split("/")):
        raise InputError(f"sweep.study_name={name}: parts between slashes must be names of folders; choose another")
    directory = directory or SWEEPS / name
    rundir.check_empty(directory, overwrite, "search")
    rundir.check_study(directory, name, overwrite)
    use_all_cores()
    split, load_s = experiment.prepare(tree)
    for corner in corners:
        experiment.check(tree_of(corner), split.selection)
    _say_data(split)
    if split.selection.validation is None:
        raise InputError("a search needs validation data: set split.validation_fraction or data.validation")
    rundir.claim(rundir.make(directory), name, overwrite)
    say(f"study {name}: {chosen.n_trials} trials, {chosen.population} at once, in {directory}")

    def evaluate(batch: list[dict[str, Any]]) -> Iterator[Outcome]:
        trees = [tree_of(params) for params in batch]
        outcomes: dict[int, Outcome] = {}
        for positions, shared, population in settings.populations(trees):
            selected = _select(shared, split, population)
            if selected.fit.interrupted:
                raise KeyboardInterrupt
            for member, position in enumerate(positions):
                if failure := experiment.failure(selected, member):
                    outcomes[position] = Outcome(None, "failed", {"error": failure})
                    continue
                assert selected.validation is not None  # seen to above
                means = selected.validation.means(member)
                attributes = {
                    **means,
                    "best_epoch": selected.fit.best_epoch[member],
                    "seconds": round((selected.fit.compile_s + selected.fit.train_s) / len(positions), 3),
                }
                outcomes[position] = Outcome(means[tree["eval"]["monitor"]], attributes=attributes)
        return iter([outcomes[position] for position in range(len(batch))])

    left = TrialsLeft()
    study = search(
        study_name=name,
        storage=open_storage(chosen.storage, directory),
        space=dimensions,
        evaluate=evaluate,
        n_trials=chosen.n_trials,
        population=chosen.population,
        sampler=chosen.sampler,
        seed=chosen.seed,
        metric=f"validation {tree['eval']['monitor']}",
        fixed=fixed,
        direction="maximize" if larger_is_better(tree["eval"]["monitor"]) else "minimize",
        directory=directory,
        overrides=[o for o in overrides if not o.startswith("sweep")],
        on_tell=lambda trial: say(_trial_line(trial)),
        on_batch=lambda finished, total: say(left(finished, total)),
    )
    winner = best(study)
    best_tree = tree_of(winner.params) | {"refit": tree["refit"] or chosen.refit}
    (result,) = _fit_and_finish(best_tree, split, load_s)
    rundir.write(directory / "best", best_tree, result)
    brought = [text for text in overrides if text.split("=", 1)[0] in chosen.tunes]
    text = yaml.safe_dump(
        [*brought, *(override(key, value) for key, value in winner.params.items())], allow_unicode=True
    )
    write_text(directory / "best.yaml", f"# overrides of trial {winner.number}, validation {winner.value:.4g}\n{text}")
    board = leaderboard(study)
    baseline = experiment.popularity_on_validation(tree, split.selection)
    notes = verdict(study, dimensions, baseline, settings.get(best_tree, "trainer.epochs"))
    write_text(directory / "report.html", sweep_report(name, study, result, notes))
    table(
        f"leaderboard, by validation {tree['eval']['monitor']}", board, in_short(board), str(directory / "trials.csv")
    )
    title = f"trial {winner.number}"
    parts = "train + validation" if best_tree["refit"] else "train"
    _test_table(f"test, {title} trained on {parts}", title, result)
    for note in notes:
        say(f"note: {note}")
    say(f"results: {directory}")
    if without_password(chosen.storage or "") == (chosen.storage or ""):
        say(f"look closer: {_look_closer(name, directory, chosen.storage)}")
    return result


def _look_closer(name: str, directory: Path, storage: str | None) -> str:
    """The command that shows this study, wherever it is stored."""
    where = []
    if storage is not None:
        where = [override("storage", str(Path(storage).absolute()) if storage.endswith(".log") else storage)]
    elif directory != SWEEPS / name:
        where = [override("root", str(directory.absolute()))]
    return command("study", override("study", name), *where)


def _select(tree: Tree, split: Split, population: Population) -> Selected:
    """Fits a population while its progress is shown, and says how it went."""
    with Epochs(tree) as shown:
        selected = experiment.select(tree, split.selection, population, shown)
    epochs, monitor = settings.get(tree, "trainer.epochs", 0), settings.get(tree, "eval.monitor")
    say(f"  {fit_line(selected.fit, epochs, monitor)}")
    return selected


def _fit_and_finish(tree: Tree, split: Split, load_s: float) -> list[Result]:
    ((_, shared, population),) = settings.populations([tree])
    return experiment.finish(shared, split, _select(shared, split, population), load_s)


def _corners(space: Space, leaves: Tree) -> list[dict[str, Any]]:
    """The ends of every dimension, each with every choice of what is no leaf: the groups, such as `model`."""
    groups = [key for key in space if key not in leaves and "." not in key]
    choices = [dict(zip(groups, values, strict=True)) for values in product(*(space[g].extremes() for g in groups))]
    others = {key: dimension for key, dimension in space.items() if key not in groups}
    return [
        chosen | extra
        for chosen in choices
        for extra in ([{key: value} for key, d in others.items() for value in d.extremes()] or [{}])
    ]


def _study_name(tree: Tree, fixed: dict[str, Any], space: dict[str, Any]) -> str:
    """Another setting, another study: trials that cannot be compared never meet."""
    text = json.dumps([fixed, space, tree["sweep"]["sampler"]], sort_keys=True, default=str)
    parts = (tree["data"]["_target_"], tree["model"]["_target_"])
    names = [part.rpartition(".")[2].lower() for part in parts]
    return "-".join([*names, hashlib.sha256(text.encode()).hexdigest()[:6]])


def _test_table(title: str, name: str, result: Result) -> None:
    """Test metrics with popularity's below; on a narrow terminal a row a metric. Then those that are not defined."""
    rows = pd.DataFrame(
        [{"": name, **_shown(result, "test")}, {"": "popularity", **_shown(result, "popularity")}], dtype=object
    )
    table(title, rows, narrow=rows.set_index("").T.reset_index(names=""))
    _say_undefined([result])


def _say_undefined(results: list[Result]) -> None:
    """Which metrics have no value on test, and why."""
    undefined = {key: why for result in results for key, why in result.metrics["undefined"].items()}
    for key, why in undefined.items():
        say(f"note: test {key} is not defined: {why}")


def _shown(result: Result, part: str) -> dict[str, Any]:
    metrics = result.metrics[part]
    keys = _shown_keys(metrics)
    shown = {key: "not defined" if math.isnan(metrics[key]) else f"{metrics[key]:.4f}" for key in keys}
    if part == "test" and keys[0] in result.metrics["test_interval"]:
        low, high = result.metrics["test_interval"][keys[0]]
        shown[keys[0]] += f" ({low:.4f} to {high:.4f})"
    return shown


def _shown_keys(metrics: Mapping[str, float]) -> list[str]:
    """Those that a table at the terminal has room for: the usual ones, and what was chosen beyond the defaults."""
    usual = {*RANKED, "coverage", *VALUES, *LABELS}
    others = [key for key in metrics if key.removeprefix(SAMPLED).partition("@")[0] not in usual]
    shown = [key for key in SHOWN if key in metrics] + [key for key in others if key.endswith("@10")]
    return shown or list(metrics)[:4]


def _say_data(split: Split) -> None:
    """One line of sizes, and what should be known before a number is believed."""
    train, test = split.selection.train, split.test.target
    validation = split.selection.validation
    n = 0 if validation is None else len(validation.target)
    say(
        f"{train.name}: {train.n_users:,} users, {train.n_items:,} items; "
        f"{len(train):,} interactions to train on, {n:,} to validate, {len(test):,} to test"
    )
    for line in notices(split):
        say(line)


def _trial_line(trial: FrozenTrial) -> str:
    value = trial.state.name.lower() if trial.value is None else f"{trial.value:.4g}"
    return f"  trial {trial.number}: {value}  {shown_params(trial.params)}"
