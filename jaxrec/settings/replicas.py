"""Replicas of a run: the same settings with other seeds, or on other test periods (folds)."""

from jaxrec.settings.tree import Tree, get


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
