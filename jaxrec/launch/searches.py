"""A search for the best settings by validation, in a sweep directory; the winner alone is tested."""

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml
from optuna.trial import FrozenTrial

from jaxrec import experiment, rundir, settings
from jaxrec.checkpoint import write_text
from jaxrec.combinations import check_validated
from jaxrec.command_line import command, override
from jaxrec.console import TrialsLeft, say, table
from jaxrec.errors import InputError
from jaxrec.experiment import Result
from jaxrec.launch.shown import say_data, test_table
from jaxrec.launch.single import select
from jaxrec.machine import use_all_cores
from jaxrec.report.report import sweep_report
from jaxrec.settings import Tree
from jaxrec.sweep.space import space_from_yaml
from jaxrec.sweep.storage import SWEEPS, open_storage, without_password
from jaxrec.sweep.trials import in_short, leaderboard, shown_params
from jaxrec.sweep.tuning import Search, Tuned, Tuning, finish, tune


def sweep(
    tree: Tree,
    space: dict[str, Any],
    compose: Callable[[Sequence[str]], Tree],
    overrides: Sequence[str],
    directory: Path | None,
    overwrite: bool = False,
) -> Result:
    """Searches the space, or continues the search of its directory; the best trial is trained again and tested."""
    settings.check(tree)
    check_validated(tree)
    chosen: Search = settings.build(tree["sweep"])
    tuning = Tuning(tree, space_from_yaml(space), compose)
    tuning.check()  # before any work starts
    name = chosen.study_name or _study_name(tree, tuning.fixed, space)
    if name.startswith("/") or {"", ".", ".."} & set(name.split("/")):
        raise InputError(f"sweep.study_name={name}: parts between slashes must be names of folders; choose another")
    directory = directory or SWEEPS / name
    rundir.check_empty(directory, overwrite, "search")
    rundir.check_study(directory, name, overwrite)
    use_all_cores()
    split, load_s = experiment.prepare(tree)
    tuning.check_data(split)
    say_data(split)
    rundir.claim(rundir.make(directory), name, overwrite)
    say(f"study {name}: {chosen.n_trials} trials, {chosen.population} at once, in {directory}")
    left = TrialsLeft()
    study = tune(
        tuning,
        chosen,
        split,
        name=name,
        storage=open_storage(chosen.storage, directory),
        directory=directory,
        select=select,
        overrides=[text for text in overrides if not text.startswith("sweep")],
        on_tell=lambda trial: say(trial_line(trial)),
        on_batch=lambda finished, total: say(left(finished, total)),
    )
    tuned = finish(tuning, chosen, study, split, select, load_s)
    write(directory, name, tuned, [text for text in overrides if text.split("=", 1)[0] in chosen.tunes])
    _show(tuned, tree["eval"]["monitor"], directory)
    if without_password(chosen.storage or "") == (chosen.storage or ""):
        say(f"look closer: {_look_closer(name, directory, chosen.storage)}")
    return tuned.result


def write(directory: Path, name: str, tuned: Tuned, brought: Sequence[str]) -> None:
    """`best/`, `best.yaml` and the page; `brought`: the choices that the space makes, such as `model=ease`."""
    winner = tuned.winner
    rundir.write(directory / "best", tuned.tree, tuned.result)
    text = yaml.safe_dump(
        [*brought, *(override(key, value) for key, value in winner.params.items())], allow_unicode=True
    )
    write_text(directory / "best.yaml", f"# overrides of trial {winner.number}, validation {winner.value:.4g}\n{text}")
    write_text(directory / "report.html", sweep_report(name, tuned.study, tuned.result, tuned.notes))


def _show(tuned: Tuned, monitor: str, directory: Path) -> None:
    """Leaderboard, test metrics of the winner, notes."""
    board = leaderboard(tuned.study)
    table(f"leaderboard, by validation {monitor}", board, in_short(board), str(directory / "trials.csv"))
    title = f"trial {tuned.winner.number}"
    parts = "train + validation" if tuned.tree["refit"] else "train"
    test_table(f"test, {title} trained on {parts}", title, tuned.result)
    for note in tuned.notes:
        say(f"note: {note}")
    say(f"results: {directory}")


def _look_closer(name: str, directory: Path, storage: str | None) -> str:
    """The command that shows this study, wherever it is stored."""
    where = []
    if storage is not None:
        where = [override("storage", str(Path(storage).absolute()) if storage.endswith(".log") else storage)]
    elif directory != SWEEPS / name:
        where = [override("root", str(directory.absolute()))]
    return command("study", override("study", name), *where)


def _study_name(tree: Tree, fixed: dict[str, Any], space: dict[str, Any]) -> str:
    """Another setting, another study: trials that cannot be compared never meet."""
    text = json.dumps([fixed, space, tree["sweep"]["sampler"]], sort_keys=True, default=str)
    parts = (tree["data"]["_target_"], tree["model"]["_target_"])
    names = [part.rpartition(".")[2].lower() for part in parts]
    return "-".join([*names, hashlib.sha256(text.encode()).hexdigest()[:6]])


def trial_line(trial: FrozenTrial) -> str:
    """Number, value and parameters of a finished trial."""
    value = trial.state.name.lower() if trial.value is None else f"{trial.value:.4g}"
    return f"  trial {trial.number}: {value}  {shown_params(trial.params)}"
