"""Results of trained members: metrics on the test split, next to those of the popularity baseline."""

import time
from dataclasses import dataclass, field

import jax
import numpy as np
import pandas as pd

from jaxrec.data.interactions import Interactions
from jaxrec.data.splits.split import HeldOut, Selection, Split
from jaxrec.errors import InputError
from jaxrec.evaluation.evaluation import Evaluation, EvaluationSettings, Evaluator, RankedLists
from jaxrec.evaluation.groups import by_group
from jaxrec.experiment.failures import DIVERGED, failure, numbers_of_member
from jaxrec.experiment.parts import evaluated_model_of, longest_history, model_of, tables_split, trainer
from jaxrec.experiment.provenance import environment, facts
from jaxrec.experiment.training import Selected, members_of
from jaxrec.fallback import Fallback, TrainingSummary, fold_in_model, training_summary
from jaxrec.fitting.closed_form import ClosedForm
from jaxrec.fitting.epochs import Fit
from jaxrec.fitting.population import Population
from jaxrec.fitting.saved_slots import EpochRow
from jaxrec.hyper import Hyper
from jaxrec.models.model import Model, Params
from jaxrec.models.popularity import Popularity
from jaxrec.settings import Tree, build


@dataclass
class Result:
    """Result of one member; units are documented under run directory in the README."""

    metrics: Tree
    per_user: pd.DataFrame
    history: pd.DataFrame
    model: Model
    params: Params
    hyper: Hyper
    known: Interactions = field(repr=False)
    lists: RankedLists | None = field(default=None, repr=False)
    trained: TrainingSummary | None = field(default=None, repr=False)


def finish(tree: Tree, split: Split, selected: Selected, load_s: float = 0.0) -> list[Result]:
    """Evaluate every member on the test split, together with the popularity baseline.

    With `refit`, every member is first retrained on train and validation for its best number of epochs.

    Args:
        tree: the settings.
        split: the data.
        selected: the trained population.
        load_s: seconds spent on reading the data.

    Returns:
        One result per member.

    Raises:
        InputError: a member diverged or returned non-finite scores.
    """
    _check_converged(selected)
    fit, fitted_on = _final_fit(tree, split.selection, selected)
    started = time.perf_counter()
    evaluation: EvaluationSettings = build(tree["eval"]).for_test(split.test.known)
    trained = training_summary(fitted_on)
    evaluator = _test_evaluator(tree, evaluation, split, trained)
    hyper = selected.population.at(selected.fit.best_epoch)
    test = evaluator(fit.params, hyper)
    if not test.finite.all():
        raise InputError(f"{type(selected.model).__name__} returned non-finite scores: {DIVERGED}")
    evaluate_s = selected.evaluate_s + selected.fit.validate_s + time.perf_counter() - started
    popular = _popularity(evaluation.ranking, fitted_on, split.test)
    length = evaluation.monitor.partition("@")[2] or evaluation.k[0]  # prediction errors have no list length
    groups = by_group(test, fitted_on, int(length))
    (popular_groups,) = by_group(popular, fitted_on, int(length))
    fits = [selected.fit] if fit is selected.fit else [selected.fit, fit]
    compile_s, train_s = sum(each.compile_s for each in fits), sum(each.train_s for each in fits)
    seconds = {"load_s": load_s, "compile_s": compile_s, "train_s": train_s, "evaluate_s": evaluate_s}
    return [
        Result(
            metrics={
                "validation": selected.validation[member],
                "test": test.means(member),
                "test_interval": test.intervals(member),
                "test_groups": groups[member],
                "popularity": popular.means(0),
                "popularity_groups": popular_groups,
                "undefined": dict(evaluator.undefined),
                "best_epoch": selected.fit.best_epoch[member],
                "refit": len(fits) > 1,
                "interrupted": any(each.interrupted for each in fits),
                "data": facts(split),
                "time": {key: round(value, 3) for key, value in seconds.items()},
                "environment": environment(selected.fit.placement),
            },
            per_user=test.table(member, split.test.known),
            history=_history(selected.fit.history[member]),
            model=evaluator.model,
            params=jax.tree.map(lambda x: np.asarray(x[member]), fit.params),  # noqa: B023
            hyper=jax.tree.map(lambda x: x[member], hyper),  # noqa: B023
            known=split.test.known,
            lists=test.ranked_lists(member),
            trained=trained,
        )
        for member in range(selected.population.size)
    ]


def _check_converged(selected: Selected) -> None:
    """Raise an InputError that says which member diverged, if one did."""
    if any(selected.fit.diverged):
        first = selected.fit.diverged.index(True)
        name = type(selected.model).__name__
        raise InputError(f"{name}: {failure(selected, first)}{numbers_of_member(selected.population, first)}")


def _final_fit(tree: Tree, selection: Selection, selected: Selected) -> tuple[Fit, Interactions]:
    """The fit to test, with `refit` one on train and validation for the best epochs; and the data it is fitted on."""
    if not tree["refit"] or selection.validation is None or selected.fit.interrupted:
        return selected.fit, selection.train
    joined = selection.joined()
    fit = trainer(tree)(model_of(tree, joined), joined, selected.population, epochs=selected.fit.best_epoch)
    return fit, joined


def _test_evaluator(tree: Tree, evaluation: EvaluationSettings, split: Split, trained: TrainingSummary) -> Evaluator:
    """Evaluator on the test split of models that were fitted on the data of this summary."""
    context = split.test.context()
    model = evaluated_model_of(model_of(tree, context), split.selection, context)
    fallback = Fallback(trained, fold_in_model(model, longest_history(context)))
    with tables_split(tree):
        return evaluation.evaluator(model, split.test, fallback)


def _history(rows: list[EpochRow]) -> pd.DataFrame:
    """Loss and validation metrics by epoch; a closed form has no epochs."""
    return pd.DataFrame(rows) if rows else pd.DataFrame(columns=["epoch", "loss", "seconds"])


def finish_each(tree: Tree, split: Split, selected: Selected, load_s: float = 0.0) -> list[Result | str]:
    """Return the result of every member, or its error message, so that one failure does not affect the others."""
    outcomes: list[Result | str] = [failure(selected, m) or "" for m in range(selected.population.size)]
    good = [member for member, failure in enumerate(outcomes) if not failure]
    try:
        results = finish(tree, split, members_of(selected, good), load_s) if good else []
    except InputError as error:
        if len(good) == 1:
            outcomes[good[0]] = str(error)
            return outcomes
        individual = [finish_each(tree, split, members_of(selected, [m]), load_s)[0] for m in good]
    else:
        individual = [*results]
    for member, outcome in zip(good, individual, strict=True):
        outcomes[member] = outcome
    return outcomes


def popularity_on_validation(tree: Tree, selection: Selection, *, only_monitor: bool = False) -> dict[str, float]:
    """Return validation metrics of the popularity baseline; empty without validation data.

    Args:
        tree: the settings.
        selection: training and validation data.
        only_monitor: whether eval.monitor is all that is needed: one metric compiles in a third of the time of all.
            An error of predictions (eval=values) is never there, because popularity predicts no values.
    """
    if selection.validation is None:
        return {}
    ranking = build(tree["eval"]).ranking
    return _popularity(ranking.monitored if only_monitor else ranking, selection.train, selection.validation).means(0)


def _popularity(ranking: EvaluationSettings, train: Interactions, test: HeldOut) -> Evaluation:
    one = Population(np.zeros(1, np.int32), Hyper())
    model = Popularity(n_items=train.n_items)
    return ranking.evaluator(model, test)(ClosedForm()(model, train, one).params, one.hyper)
