"""Replicas of a run: the same settings with other seeds, or on other test periods (folds)."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar

from jaxrec.settings.tree import Tree, get

Run = TypeVar("Run")


def is_random(tree: Tree) -> bool:
    """Return whether a run depends on its seed; models that are solved in closed form, without epochs, do not."""
    return get(tree, "trainer.epochs") is not None


def fold_of(tree: Tree) -> int | None:
    """Test period of a run, of a split that has several."""
    fold: int | None = get(tree, "split.fold")
    return fold


def without_replica(tree: Tree) -> Tree:
    """Settings without the seed and the fold: those of the runs that estimate the same quantity."""
    split = {key: value for key, value in tree["split"].items() if key != "fold"}
    return {**tree, "split": split, "seed": None}


def with_seeds(tree: Tree, seeds: int) -> list[Tree]:
    """Return the configuration with `seeds` consecutive seeds; once, if it uses no random numbers."""
    return [{**tree, "seed": tree["seed"] + n} for n in range(seeds if is_random(tree) else 1)]


def by_fold(runs: Iterable[Run], tree_of: Callable[[Run], Tree]) -> dict[int | None, list[Run]]:
    """Return the runs of each fold, in order of folds and seeds."""

    def place(run: Run) -> tuple[int, int]:
        tree = tree_of(run)
        return -1 if (fold := fold_of(tree)) is None else fold, get(tree, "seed", 0)

    folds: dict[int | None, list[Run]] = {}
    for run in sorted(runs, key=place):
        folds.setdefault(fold_of(tree_of(run)), []).append(run)
    return folds


def seeds_differ(folds: Mapping[int | None, Sequence[Tree]]) -> bool:
    """Return whether some folds have other seeds than others: then seeds and folds are not crossed."""
    return len({tuple(get(tree, "seed", 0) for tree in trees) for trees in folds.values()}) > 1
