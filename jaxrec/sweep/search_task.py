"""Settings of a search, checked before any work starts."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from optuna.study import Study

from jaxrec import settings
from jaxrec.command_line import keys_of
from jaxrec.data.splits.fingerprint import fingerprint
from jaxrec.data.splits.split import Split
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

    def on(self, split: Split) -> "SearchTask":
        """Return the task for this data, on which alone its study is continued.

        Raises:
            InputError: a trial at a bound of the space would fail on this data.
        """
        self.tuning.check_data(split)
        return replace(self, plan=replace(self.plan, data=fingerprint(split.selection)))


def check_search(
    tree: Tree, space: Tree, compose: Callable[[Sequence[str]], Tree], overrides: Sequence[str]
) -> SearchTask:
    """Check a search of the command line before any work starts; see `launch.sweep`."""
    settings.check(tree)
    check_validated(tree)
    chosen: Search = settings.build(tree["sweep"])
    tree = chosen.measuring(tree)
    tuning = Tuning(tree, space_from_yaml(space), compose, chosen.goals(tree))
    typed = keys_of(overrides)
    given = {key: value for key, value in settings.flat(tree).items() if key in typed}
    kept = [text for text in overrides if not text.startswith("sweep")]
    plan = plan_of(chosen, tuning, given, overrides=kept, source=chosen.warm_start)
    name = chosen.study_name or _study_name(tree, dict(plan.fixed), space)
    if name.startswith("/") or {"", ".", ".."} & set(name.split("/")):
        raise InputError(f"sweep.study_name={name}: each part between slashes must be a folder name, e.g. mf/first")
    return SearchTask(name, chosen, tuning, plan, overrides)


def plan_of(
    chosen: Search,
    tuning: Tuning,
    given: Mapping[str, object],
    advice: str = "",
    *,
    overrides: Sequence[str] = (),
    source: str | Path | Study | None = None,
) -> Plan:
    """Check the settings and the space of a search, and return what to search for.

    Args:
        chosen: settings of the search.
        tuning: configuration and search space.
        given: settings that the user has set besides the space.
        advice: what to do about those that the space contains, too; empty: on a command line.
        overrides: command-line overrides to store in the study.
        source: study to start from.
    """
    if chosen.workers > 1 and chosen.strategy == "pbt":
        raise InputError(
            f"sweep.workers={chosen.workers}: sweep.strategy=pbt has one population in one process: omit sweep.workers"
        )
    tuning.check()
    check_in_space(tuning.space, given, advice)
    plan = population_plan(tuning.plan(chosen, overrides, source), chosen, tuning)
    _ = plan.remarks  # fails if no trial of sweep.warm_start can be used
    return plan


def _study_name(tree: Tree, fixed: Tree, space: Tree) -> str:
    """Return a name with a hash of the settings, so that incomparable trials never share a study."""
    start = [tree["sweep"][key] for key in ("sampler", "warm_start") if tree["sweep"][key] is not None]
    start += [tree["sweep"][key] for key in ("objectives", "constraints") if tree["sweep"][key]]
    text = json.dumps([fixed, space, *start], sort_keys=True, default=str)
    names = [settings.target_name(tree[group]).lower() for group in ("data", "model")]
    return "-".join([*names, hashlib.sha256(text.encode()).hexdigest()[:6]])
