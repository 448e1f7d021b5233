"""Benchmark cases: compilation excluded, medians over repeats, peer libraries interleaved in the same run."""

import json
import resource
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jaxtyping import PyTree

from jaxrec import experiment, settings
from jaxrec.atomic_files import write_json
from jaxrec.benchmark import comparison, compiling, processes, searching, serving
from jaxrec.benchmark import mining as mining_case
from jaxrec.benchmark.comparison import Row
from jaxrec.console import say, say_results, table
from jaxrec.data.interactions import Interactions
from jaxrec.errors import InputError
from jaxrec.features import FeatureTables, tables, with_tables
from jaxrec.fitting.epochs import fresh
from jaxrec.fitting.gradient import GradientFit
from jaxrec.hyper import Hyper
from jaxrec.models.model import Model, Params
from jaxrec.random import stream
from jaxrec.ranking import QueryRows, Ranker
from jaxrec.settings import Tree, build, get, populations, put, target_name


def run(
    tree: Tree,
    case: str,
    repeats: int,
    out: Path,
    peer: str | None = None,
    compare: str | None = None,
    compiled_for: Tree | None = None,
    command: str = "",
) -> list[Row]:
    """Run a case, print a table, and write `out` as JSON.

    Args:
        tree: the settings of a run.
        case: fit (seconds per epoch), rank (seconds for every user's top 10), evaluate (seconds for the metrics of all
            validation users), sweep (searches with and without pruning, in batches, and one trial after another), start
            (a whole process of `command`), mining (seconds for every user's 50 hardest negatives, and the ratio
            to the arithmetic limit), samplers (seconds per epoch with each negative sampler), serve (99th-percentile
            latency of a server under 64 connections), compile (programs compiled for a device that may be absent).
        repeats: number of timed repeats.
        out: the JSON file to write.
        peer: `PYTHON SCRIPT`, interleaved with our runs on the same interactions: the script gets an npz file of user
            and item positions, the embedding dimension and the number of repeats, and prints one JSON line
            {"name": …, "seconds": [...]}, with "targets" (interactions trained or users ranked per repeat) if it
            timed a part of the work. With case=start: a command, timed as a whole process.
        compare: the JSON file of an earlier run; what changed is shown.
        compiled_for: target, topology and members of case=compile; see `compiling.rows`.
        command: the command of case=start.

    Returns:
        The rows of the table, with all timings.

    Raises:
        InputError: an unknown case, an invalid setting, or a failed peer.
    """
    cases: dict[str, Callable[..., list[Row]]] = {"fit": fit, "rank": rank, "evaluate": evaluate}
    cases |= {"sweep": sweep, "mining": mining, "samplers": samplers, "serve": serve}
    cases["compile"] = lambda tree, repeats, peer: compiling.rows(tree, repeats=repeats, **(compiled_for or {}))
    cases["start"] = lambda tree, repeats, peer: start(command, repeats, peer)
    before = None if compare is None else comparison.read(Path(compare), case)
    if case not in cases:
        raise InputError(f"case={case}: must be one of {', '.join(cases)}")
    settings.check({key: value for key, value in tree.items() if key != "peer"})
    rows = cases[case](tree, repeats, peer)
    machine = experiment.environment(f"{jax.device_count()} {jax.default_backend()} device(s)")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    table(f"case={case}", pd.DataFrame([{k: v for k, v in row.items() if not k.endswith("seconds")} for row in rows]))
    if before is not None:
        table(f"changes since {compare}", comparison.changes(before, rows))
    say(f"{machine['device']} ({machine['placement']}), jax {machine['jax']}; peak memory {peak:,.0f} MiB")
    write_json(
        out, {"case": case, "rows": rows, "peak_memory_mib": round(peak), "environment": machine, "settings": tree}
    )
    say_results(out)
    return rows


def fit(tree: Tree, repeats: int, peer: str | None) -> list[Row]:
    """Time epochs of one member on all of the data, excluding the first epoch, which compiles."""
    data: Interactions = build(tree["data"])
    _, shared, population = next(populations([tree]))
    if "epochs" not in shared["trainer"]:
        raise InputError("case=fit times epochs, and this model is solved without any: use case=start")
    model = build(shared["model"], n_users=data.n_users, n_items=data.n_items)
    trainer = experiment.trainer(put(shared, {"trainer.epochs": repeats + 1, "trainer.patience": None}))
    first = trainer(model, data, population)
    peer_rows = _peer(peer, data, get(tree, "model.embedding_dim", 0), repeats)
    again = trainer(model, data, population)
    seconds = [row["seconds"] for fitted in (first, again) for row in fitted.history[0][1:]]
    targets = len(data)
    if isinstance(trainer, GradientFit):
        targets = _targets(trainer, model, data, first.params, population.hyper)
    return _rates([_row("jaxrec", seconds, compile_s=round(first.compile_s, 2)), *peer_rows], targets)


def _targets(trainer: GradientFit, model: Model, data: Interactions, params: Params, hyper: Hyper) -> int:
    """Return the interactions trained per epoch: the total example weight (sequences are truncated or masked)."""
    examples, n = trainer.objective.examples(data, model.history_length)
    params, hyper = jax.tree.map(lambda x: jnp.asarray(x[0]), (params, hyper))

    def weights(feature_tables: FeatureTables, examples: PyTree) -> PyTree:  # unused outputs are not computed
        source, known = stream(jax.random.key(0)), with_tables(model, feature_tables)
        return trainer.objective.costs(known, params, examples, jnp.arange(n), source, False)[1]

    each = np.asarray(jax.jit(weights)(tables(model, data.encoded), examples))
    return round(each.sum(dtype=np.float64))


def rank(tree: Tree, repeats: int, peer: str | None) -> list[Row]:
    """Time the top-10 ranking of every user, with seen items masked, from random parameters."""
    data: Interactions = build(tree["data"])
    model, params, hyper = _fresh(tree, data)
    query_rows = QueryRows.for_users(np.arange(data.n_users), data.histories)
    ranker = Ranker(model, query_rows, 10, block=get(tree, "eval.block"))
    rows = _with_peer(lambda: np.asarray(ranker(params, hyper).items), repeats, peer, data, tree)
    for row in rows:
        row["users_per_s"] = round(data.n_users / row["median_s"])
    return rows


def evaluate(tree: Tree, repeats: int, peer: str | None) -> list[Row]:
    """Time a validation: full-catalog ranking of its users and the metrics of their lists."""
    data: Interactions = build(tree["data"])
    validation = build(tree["split"], interactions=data).selection.validation
    if validation is None:
        raise InputError("case=evaluate needs validation data: set split.validation_fraction or data.validation")
    model, params, hyper = _fresh(tree, validation.target)
    evaluator = build(tree["eval"]).evaluator(model, validation)
    rows = _with_peer(lambda: evaluator(params, hyper).means(0), repeats, peer, data, tree)
    return _rates(rows, len(evaluator.ground_truth.queries.users))


def _fresh(tree: Tree, data: Interactions) -> tuple[Model, PyTree, Hyper]:
    """Return the initialized model for this data, as a population of one."""
    _, shared, population = next(populations([tree]))
    model = build(shared["model"], n_users=data.n_users, n_items=data.n_items)
    one = jax.tree.map(lambda x: x[0], population.hyper)
    params = jax.jit(lambda hyper: fresh(model, jax.random.key(0), hyper))(one)
    return model, jax.tree.map(lambda x: x[None], params), population.hyper


def _with_peer(work: Callable[[], object], repeats: int, peer: str | None, data: Interactions, tree: Tree) -> list[Row]:
    """Time our work before and after the peer's, excluding the first call, which compiles."""
    first = _timed(work)
    seconds = [_timed(work) for _ in range(repeats)]
    peer_rows = _peer(peer, data, get(tree, "model.embedding_dim", 0), repeats)
    seconds += [_timed(work) for _ in range(repeats)]
    return [_row("jaxrec", seconds, compile_s=round(first - min(seconds), 2)), *peer_rows]


def _rates(rows: list[Row], targets: int) -> list[Row]:
    """Add targets per second; a peer may report its own number of targets."""
    return [
        {"targets": targets, **row} | {"targets_per_s": float(f"{row.get('targets', targets) / row['median_s']:.4g}")}
        for row in rows
    ]


def sweep(tree: Tree, repeats: int, peer: str | None) -> list[Row]:
    """Time whole searches with and without pruning, and one trial after another; see `searching.searches`."""
    return _rows(searching.searches(tree, repeats))


def start(command: str, repeats: int, peer: str | None) -> list[Row]:
    """Time whole processes of a command; see `jaxrec.benchmark.processes`."""
    return _rows(processes.processes(command, repeats, peer))


def mining(tree: Tree, repeats: int, peer: str | None) -> list[Row]:
    """Time the 50 hardest negatives of every user; see `jaxrec.benchmark.mining`."""
    seconds, figures = mining_case.mine(tree, repeats)
    return [_row(target_name(tree["model"]), seconds, **figures)]


def samplers(tree: Tree, repeats: int, peer: str | None) -> list[Row]:
    """Time epochs with every negative sampler, relative to uniform negatives."""
    timings = mining_case.epochs(tree, repeats)
    uniform = min(min(seconds) for name, seconds in (timings[0], timings[-1]))
    return [_row(name, seconds, times_uniform=round(min(seconds) / uniform, 2)) for name, seconds in timings]


def serve(tree: Tree, repeats: int, peer: str | None) -> list[Row]:
    """Time the 99th-percentile latency of a server under load; see `jaxrec.benchmark.serving`."""
    return _rows(serving.serve(tree, repeats))


def _timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _row(name: str, seconds: Sequence[float], **more: object) -> Row:
    """Median and spread, to four digits."""
    low, middle, high = (float(f"{value:.4g}") for value in (min(seconds), np.median(seconds), max(seconds)))
    return {"name": name, "median_s": middle, "min_s": low, "max_s": high, **more, "seconds": list(seconds)}


def _rows(timings: Iterable[tuple[str, list[float], dict[str, float]]]) -> list[Row]:
    """One row per name, seconds and figures."""
    return [_row(name, seconds, **figures) for name, seconds, figures in timings]


def _peer(peer: str | None, data: Interactions, width: int, repeats: int) -> list[Row]:
    if peer is None:
        return []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "interactions.npz"
        np.savez(path, user=data.user, item=data.item)
        call = [*peer.split(), str(path), str(width), str(2 * repeats)]
        done = subprocess.run(call, capture_output=True, text=True, check=False)
    if done.returncode:
        raise InputError(f"peer={peer} failed: {done.stderr.strip().splitlines()[-1:]}")
    output = json.loads(done.stdout.strip().splitlines()[-1])
    own = {"targets": round(output["targets"])} if "targets" in output else {}
    return [_row(output["name"], output["seconds"], **own)]
