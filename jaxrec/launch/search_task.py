"""Settings of a search, checked before any work starts."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from jaxrec import settings
from jaxrec.command_line import keys_of
from jaxrec.data.splits.assembly import Selection
from jaxrec.data.splits.fingerprint import fingerprint
from jaxrec.errors import InputError
from jaxrec.settings import Tree
from jaxrec.settings.combinations import check_validated
from jaxrec.sweep.pbt_plan import population_plan
from jaxrec.sweep.plan import Plan
from jaxrec.sweep.search_settings import Search
from jaxrec.sweep.space import check_in_space, space_from_yaml
from jaxrec.sweep.tuning import Tuning


@dataclass(frozen=True, eq=False)
class SearchTask:
    """A search whose settings are checked.

    Attributes:
        name: name of the study.
        chosen: settings of the search.
        tuning: configuration and search space.
        plan: what to search for.
        overrides: command-line overrides behind the configuration.
    """

    name: str
    chosen: Search
    tuning: Tuning
    plan: Plan
    overrides: Sequence[str]

    def on(self, selection: Selection) -> "SearchTask":
        """Return the task for this data, on which alone its study is continued."""
        return replace(self, plan=replace(self.plan, data=fingerprint(selection)))


def check_search(
    tree: Tree, space: Tree, compose: Callable[[Sequence[str]], Tree], overrides: Sequence[str]
) -> SearchTask:
    """Check a search before any work starts; see `launch.sweep`."""
    settings.check(tree)
    check_validated(tree)
    chosen: Search = settings.build(tree["sweep"])
    tree = chosen.measuring(tree)
    check_one_population(chosen)
    tuning = Tuning(tree, space_from_yaml(space), compose, chosen.goals(tree))
    tuning.check()
    typed = keys_of(overrides)
    check_in_space(tuning.space, {key: value for key, value in settings.flat(tree).items() if key in typed})
    kept = [text for text in overrides if not text.startswith("sweep")]
    plan = population_plan(tuning.plan(chosen, kept, chosen.warm_start), chosen, tuning)
    _ = plan.remarks  # fails if no trial of sweep.warm_start can be used
    name = chosen.study_name or _study_name(tree, dict(plan.fixed), space)
    if name.startswith("/") or {"", ".", ".."} & set(name.split("/")):
        raise InputError(f"sweep.study_name={name}: each part between slashes must be a folder name, e.g. mf/first")
    return SearchTask(name, chosen, tuning, plan, overrides)


def check_one_population(chosen: Search) -> None:
    """Raise an InputError for several workers of population-based training."""
    if chosen.workers > 1 and chosen.strategy == "pbt":
        raise InputError(
            f"sweep.workers={chosen.workers}: sweep.strategy=pbt has one population in one process: omit sweep.workers"
        )


def _study_name(tree: Tree, fixed: Tree, space: Tree) -> str:
    """Return a name with a hash of the settings, so that incomparable trials never share a study."""
    start = [tree["sweep"][key] for key in ("sampler", "warm_start") if tree["sweep"][key] is not None]
    start += [tree["sweep"][key] for key in ("objectives", "constraints") if tree["sweep"][key]]
    text = json.dumps([fixed, space, *start], sort_keys=True, default=str)
    parts = (tree["data"]["_target_"], tree["model"]["_target_"])
    names = [part.rpartition(".")[2].lower() for part in parts]
    return "-".join([*names, hashlib.sha256(text.encode()).hexdigest()[:6]])
