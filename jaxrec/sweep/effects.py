"""Which keys a search may vary: those that change what validation says of a trial."""

import inspect
from typing import Any

from jaxrec.arguments import locate
from jaxrec.errors import InputError
from jaxrec.settings import Tree

# Read once for all trials, or only after the search.
COMMON = {
    "data": "all trials of a search share the data: run a search for each",
    "split": "all trials of a search share the split: run a search for each",
    "eval": "all trials of a search are compared by the same metric: set it for all",
    "sweep": "it says how to search: run a search for each",
    "refit": "it counts after the search: set sweep.refit",
    "experiment": "it sets the data too: run a search for each",
}


def check_effects(tree: Tree, key: str) -> None:
    """Raises an InputError for a key that makes no difference to the trials of this run."""
    group, _, name = key.partition(".")
    if why := COMMON.get(group) or _without_effect(tree, group, name):
        raise InputError(f"{key} has no effect on a trial, so it cannot be searched: {why}")


def _without_effect(tree: Tree, group: str, name: str) -> str:
    model, trainer, loss = (str(tree[part].get("_target_", "")) for part in ("model", "trainer", "loss"))
    called = model.rpartition(".")[2]
    if (group, name) == ("trainer", "members"):
        return "it says how members share the machine"
    if group == "seed" and not {"epochs"} & _takes(trainer):
        return f"{called} is solved without random numbers"
    if group in ("optimizer", "loss", "negatives") and "objective" not in _takes(trainer):
        return f"{called} is trained without"
    if group == "negatives" and "negatives" not in _takes(loss):
        return "this loss samples nothing; choose one that does, such as loss=bpr"
    if (group, name) == ("loss", "history") and "history_length" not in _takes(model):
        return f"{called} reads no history"
    return ""


def _takes(target: str) -> set[str]:
    found: Any = locate(target) if target else None
    return set(inspect.signature(found).parameters) if found else set()
