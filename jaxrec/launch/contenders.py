"""Models of a comparison: their settings, checked before any work starts, and their stored progress."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from jaxrec import experiment, settings
from jaxrec.atomic_files import read_json, write_json
from jaxrec.data.splits.split import Split
from jaxrec.errors import InputError, named
from jaxrec.settings import Tree, differing, flat, is_random
from jaxrec.settings.combinations import check_validated
from jaxrec.sweep.search_task import SearchTask, check_search

N_TRIALS = 16  # of each model, unless set or limited by time
STATE_FILE = "comparison.json"  # progress of a model in its folder
SHARED = ("data", "split", "eval")  # settings that all models of a comparison share


class Contender(NamedTuple):
    """A model of a comparison.

    Attributes:
        name: its name in sweep.models, and of its folder
        tree: its configuration
        space: its search space as plain dicts; empty: it is trained once
        compose: composes its configuration with additional overrides
        overrides: command-line overrides behind `tree`
    """

    name: str
    tree: Tree
    space: Tree
    compose: Callable[[Sequence[str]], Tree]
    overrides: Sequence[str]


@dataclass(frozen=True, eq=False)
class Work:
    """A contender whose settings are checked.

    Attributes:
        task: its search; None: it is trained once
        settings: hash of what its results depend on
        budget: limits of its search, and number of seeds
    """

    contender: Contender
    folder: Path
    task: SearchTask | None
    settings: str
    budget: Tree

    @property
    def state(self) -> Tree:
        """Stored progress: settings, seconds of search, and once it is finished its budget and its row."""
        file = self.folder / STATE_FILE
        return read_json(file) if file.exists() else {"settings": self.settings, "seconds": 0.0}

    @property
    def is_finished(self) -> bool:
        """Whether it has been trained within these limits."""
        return bool(self.state.get("budget") == self.budget)

    def check_folder(self) -> None:
        """Raise an InputError if the folder has results of other settings."""
        if self.state["settings"] != self.settings:
            raise InputError(
                f"{self.folder} holds results of other settings: set another hydra.sweep.dir or sweep.study_name"
            )

    def store(self, **changes: object) -> None:
        """Store progress."""
        write_json(self.folder / STATE_FILE, self.state | changes)


def check_contender(each: Contender, sweep: Tree, seeds: int | None, study: str, folder: Path) -> Work:
    """Check the settings of a contender before any work starts."""
    timeout = sweep["timeout"]
    n_trials = sweep["n_trials"]
    if n_trials is None and timeout is None:
        n_trials = N_TRIALS
    own = {key: each.tree["sweep"][key] for key in ("space", "tunes", "population")}
    limits = {"n_trials": n_trials, "study_name": f"{study}/{each.name}", "models": ()}
    tree = {**each.tree, "sweep": {**sweep, **own, **limits}}

    task = None
    with named(f"sweep.models: {each.name}"):
        if each.space:
            task = check_search(tree, each.space, each.compose, each.overrides)
        settings.check(tree)
        check_validated(tree)
    fixed = {key: value for key, value in flat(tree).items() if not key.startswith(("sweep.", "trainer.save_minutes"))}
    text = json.dumps([fixed, each.space], sort_keys=True, default=str)
    budget = {"n_trials": n_trials, "timeout": timeout} if each.space else {}
    if seeds is not None and is_random(tree):
        budget["seeds"] = seeds
    return Work(each._replace(tree=tree), folder, task, hashlib.sha256(text.encode()).hexdigest(), budget)


def check_shared(contenders: Sequence[Contender]) -> None:
    """Raise an InputError unless all models share data, split and evaluation."""
    first, *others = contenders
    for each in others:
        one, other = ({group: tree[group] for group in SHARED} for tree in (first.tree, each.tree))
        for key in differing(one, other)[:1]:
            values = flat(one).get(key), flat(other).get(key)
            raise InputError(
                f"sweep.models: {each.name} has {key}={values[1]}, {first.name} has {key}={values[0]}: models can be "
                f"compared only on one split and evaluation; set it for all, or omit {each.name}"
            )


def on_data(work: Work, split: Split) -> Work:
    """Return the work on this data; raise an InputError if the model cannot be trained on it, or has no validation."""
    with named(f"sweep.models: {work.contender.name}"):
        task = None if work.task is None else work.task.on(split)
        experiment.check(work.contender.tree, split.selection)
    if split.selection.validation is None:
        raise InputError("a comparison needs validation data: set split.validation_fraction or data.validation")
    return replace(work, task=task)
