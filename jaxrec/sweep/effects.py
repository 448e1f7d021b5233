"""Check that every searched key can change the validation metrics of a trial."""

import inspect
from typing import Any

from jaxrec.arguments import locate
from jaxrec.errors import InputError
from jaxrec.settings import Tree, target_name

# Config groups that are read once for all trials, or only after the search, with the reason for the error message.
COMMON = {
    "data": "all trials of a search share the data: run one search per dataset",
    "split": "all trials of a search share the split: run one search per split",
    "eval": "all trials of a search are compared by the same metric: set it outside the space",
    "sweep": "it configures the search itself: run one search per value",
    "refit": "it is applied after the search: set sweep.refit",
    "experiment": "it also sets the data: run one search per experiment",
}


def check_effects(tree: Tree, key: str) -> None:
    """Raise an InputError if a key has no effect on the trials of this run."""
    group, _, name = key.partition(".")
    if why := COMMON.get(group) or _without_effect(tree, group, name):
        raise InputError(f"{key} has no effect on a trial, so it cannot be searched: {why}")


def _without_effect(tree: Tree, group: str, name: str) -> str:
    model, trainer, loss = (str(tree[part].get("_target_", "")) for part in ("model", "trainer", "loss"))
    model_name = target_name(tree["model"])
    if (group, name) == ("trainer", "members"):
        return "it only sets how many members train at once"
    if group == "seed" and not {"epochs"} & _takes(trainer):
        return f"{model_name} uses no random numbers"
    if group in ("optimizer", "loss", "negatives") and "objective" not in _takes(trainer):
        return f"{model_name} is trained without it"
    if group == "negatives" and "negatives" not in _takes(loss):
        return "this loss samples no negatives; choose one that does, e.g. loss=bpr"
    if (group, name) == ("loss", "history") and "history_length" not in _takes(model):
        return f"{model_name} reads no history"
    return ""


def _takes(target: str) -> set[str]:
    factory: Any = locate(target) if target else None
    return set(inspect.signature(factory).parameters) if factory else set()
