"""`jaxrec pipeline`: choose settings on validation, evaluate on test once, write tables and a report."""

import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
from pydantic import Field, PositiveInt, TypeAdapter

from jaxrec import console
from jaxrec.arguments import check_value
from jaxrec.atomic_files import remove_mark, write_atomic, write_json, write_text
from jaxrec.data.interactions import Interactions
from jaxrec.data.splits.split import Split
from jaxrec.errors import InputError, named
from jaxrec.hyper import Share
from jaxrec.pipeline.list_evaluator import ListResults
from jaxrec.pipeline.pipeline import WEIGHT, Pipeline, Run, Scoring, Stages, choose_value, curve, stage_table
from jaxrec.pipeline.report import Example, Tradeoff, report, without
from jaxrec.report.items import item_names
from jaxrec.rerank.steps import Available, Step
from jaxrec.settings import Tree, build, check

_KINDS: dict[str, Any] = {  # types of the settings that belong to no part
    "k": PositiveInt,
    "tradeoff": str | None,
    "values": Annotated[tuple[Annotated[float, Field(allow_inf_nan=False)], ...], Field(min_length=1)],
    "metric": str | None,
    "keep": Share | None,
}
SHOWN = ("ndcg", "recall", "diversity", "novelty", "coverage", "gini", "popularity_bias", "exposure_disparity")


def run(tree: Tree, directory: Path) -> dict[str, ListResults]:
    """Evaluate the pipeline of these settings, documented in conf/pipeline.yaml.

    Args:
        tree: the settings.
        directory: output folder of the tables and the report.

    Returns:
        Test metrics by stage.

    Raises:
        InputError: an invalid setting, or a run that does not fit.
    """
    _check(tree)
    varied = _knob(tree)
    scoring: Scoring = build(tree["scoring"])
    first = Run.open(tree["run"])
    second = Run.open(scoring.run) if scoring.run is not None else None
    pipeline = Pipeline(
        first,
        second,
        candidates=build(tree["candidates"]),
        weight=scoring.weight,
        steps={name: build(node) for name, node in tree["rerank"].items()},
        facts=build(tree["items"]),
        k=tree["k"],
    )
    _check_available(pipeline)
    split = first.split()
    tradeoff = None
    if varied is not None:
        _check_validation([first] if second is None else [first, second], split.selection.validation)
        tradeoff = _choose(pipeline, split, tree, *varied)
    chosen = {} if tradeoff is None or tradeoff.picked is None else {tradeoff.knob: tradeoff.picked}
    stages = pipeline.stages(split.test, split)
    done = pipeline.evaluate(stages, chosen)
    quality = f"ndcg@{tree['k']}"
    stages_table = stage_table(done, quality)
    page = report(
        f"{type(first.fitted.model).__name__} on {split.selection.train.name}, re-ranked",
        tree,
        stages_table,
        stages.candidate_statistics,
        tradeoff,
        _examples(done, stages, split.test.known),
    )
    remove_mark(directory / "report.html")  # of a pipeline that is replaced; written last
    if tradeoff is not None:
        write_atomic(directory / "tradeoff.csv", partial(tradeoff.curve.to_csv, index=False))
    write_atomic(directory / "stages.csv", partial(stages_table.to_csv, index=False))
    settings = {"setting": _plain(tree), "chosen on validation": chosen}
    results = {"candidates": stages.candidate_statistics, "test": stages_table.to_dict("records")}
    write_json(directory / "pipeline.json", settings | results)
    write_text(directory / "report.html", page)
    _print_results(stages_table, stages.candidate_statistics, quality, tree["k"])
    console.say_results(directory)
    return done


def _choose(pipeline: Pipeline, split: Split, tree: Tree, knob: str, metric: str) -> Tradeoff:
    """Return the trade-off on validation by the setting `knob`; its value is only chosen with `keep`."""
    quality = f"ndcg@{tree['k']}"
    table = curve(pipeline, split, knob, tree["values"])
    if metric not in table:
        raise InputError(f"metric={metric} is not available; choose from {', '.join(table.columns[1:])}")
    picked = None if tree["keep"] is None else choose_value(table, knob, metric, quality, tree["keep"])
    watched = table[list(dict.fromkeys([knob, quality, metric]))]
    console.table(f"validation by {knob} (first row: {without(knob)})", watched)
    console.say(
        f"chosen on validation: {knob}={picked:g}, the best {metric} with at least {tree['keep']:g} of {quality}"
        if picked is not None
        else f"{knob} is unchanged; set keep=0.95 to choose it on validation"
    )
    return Tradeoff(knob, metric, table, picked)


def _examples(done: Mapping[str, ListResults], stages: Stages, known: Interactions) -> list[Example]:
    """Return lists of the first and the last stage for users with short, medium and long histories."""
    first, last = (list(done.values())[place] for place in (0, -1))
    if first is last:
        return []
    lengths = np.bincount(known.user, minlength=known.n_users)[first.users]
    order = np.argsort(lengths, kind="stable")
    names, hits = item_names(known), [stages.evaluator.hits(measured.lists) for measured in (first, last)]

    def titles(measured: ListResults, hit: np.ndarray, row: int) -> list[tuple[str, bool]]:
        listed = measured.lists[row]
        return [(str(names[item]), bool(h)) for item, h in zip(listed, hit[row], strict=True) if item >= 0]

    rows = dict.fromkeys(int(order[round(q * (len(order) - 1))]) for q in (0.1, 0.5, 0.9))
    return [
        Example(
            known.user_ids[first.users[row]],
            int(lengths[row]),
            titles(first, hits[0], row),
            titles(last, hits[1], row),
        )
        for row in rows
    ]


def _check_available(pipeline: Pipeline) -> None:
    """Raise an InputError if the step `available` has nothing to filter by."""
    facts = pipeline.facts
    if facts.available is None and not facts.without and any(isinstance(s, Available) for s in pipeline.steps.values()):
        raise InputError(
            "rerank=available has no effect: set items.available to a yes/no column, or items.without to categories"
        )


def _check(tree: Tree) -> None:
    """Raise an InputError for the first setting that is unknown, of the wrong type, or out of range."""
    check({key: tree[key] for key in ("candidates", "scoring", "items")})
    check({f"rerank.{name}": node for name, node in tree["rerank"].items()})
    for key, kind in _KINDS.items():
        check_value(TypeAdapter(kind), tree[key], key)


def _knob(tree: Tree) -> tuple[str, str] | None:
    """Return the number to vary, if there is one, and the metric to report, checked against the configured stages."""
    steps, knob, metric, k = tree["rerank"], tree["tradeoff"], tree["metric"], tree["k"]
    if knob is None:
        return None
    name, _, number = knob.partition(".")
    if name == "scoring" and number in ("", "weight"):
        if tree["scoring"]["run"] is None:
            raise InputError(f"tradeoff={knob} needs a second model: set scoring=model scoring.run=RUN_DIR")
        _check_values(tree["values"], "scoring", tree["scoring"], "weight")
        return WEIGHT, metric or f"ndcg@{k}"
    if name not in steps:
        raise InputError(f"tradeoff={knob}: unknown step {name}; rerank has {', '.join(steps) or 'none'}")
    step: Step = build(steps[name])
    number = number or step.knob or ""
    if number not in steps[name] or number.startswith("_"):
        numbers = [f"{name}.{key}" for key in steps[name] if not key.startswith("_")]
        raise InputError(f"tradeoff={knob}: unknown number; the step has {', '.join(numbers) or 'none'}")
    _check_values(tree["values"], f"rerank.{name}", steps[name], number)
    return f"{name}.{number}", metric or f"{step.metric}@{k}"


def _check_values(values: Sequence[float], key: str, node: Tree, number: str) -> None:
    """Raise an InputError for a value that this number of a part cannot have."""
    with named("values"):
        for value in values:
            check({key: {**node, number: value}})


def _check_validation(runs: Sequence[Run], validation: object) -> None:
    if validation is None:
        raise InputError(
            f"{runs[0].directory} has no validation data to choose strengths: train with split.validation_fraction"
        )
    for run in runs:
        if run.tree.get("refit"):
            raise InputError(
                f"{run.directory} was trained on train and validation (refit=true), so strengths cannot be chosen on "
                "validation: use a run with refit=false, or set strengths manually and omit tradeoff"
            )


def _plain(tree: Tree) -> object:
    return json.loads(json.dumps(tree, default=str))


def _print_results(table: pd.DataFrame, candidates: dict[str, float], quality: str, k: int) -> None:
    keys = [f"{key}@{k}" for key in (*SHOWN, "calibration_error", "freshness", "serendipity")]
    metrics = table[["stage", *(key for key in keys if key in table)]].set_index("stage").T
    console.table("test", metrics.reset_index(names="metric"))
    for row in table.iloc[1:].itertuples(index=False):
        named = dict(zip(table.columns, row, strict=True))
        console.say(
            f"{named['stage']}: {quality} {named['difference']:+.4f} "
            f"({named['difference low']:+.4f} to {named['difference high']:+.4f}) vs the first stage"
        )
    for name, value in candidates.items():
        console.say(f"{name}: {value:.4f}" if value <= 1 else f"{name}: {value:.1f}")
