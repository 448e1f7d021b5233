"""Timings of hard-negative mining, and of epochs with each negative sampler."""

import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from jaxrec import experiment
from jaxrec.data.interactions import Interactions
from jaxrec.errors import InputError
from jaxrec.fitting.epochs import fresh
from jaxrec.models.model import Model, Params
from jaxrec.ranking import QueryRows, Ranker, query_of
from jaxrec.settings import Tree, build, get, populations, put, target_name

HARDEST = 50  # items per user
CHECKED = 32  # users whose lists are verified with NumPy

SAMPLERS: list[Tree] = [
    {"_target_": "jaxrec.negatives.uniform.Uniform"},
    {"_target_": "jaxrec.negatives.uniform.Uniform", "exclude_known": True},
    {"_target_": "jaxrec.negatives.popularity.Popularity"},
    {"_target_": "jaxrec.negatives.popularity.Popularity", "exclude_known": True},
    {"_target_": "jaxrec.negatives.in_batch.InBatch"},
    {"_target_": "jaxrec.negatives.batch_shared.BatchShared", "ratio": 64},
    {
        "_target_": "jaxrec.negatives.mixed.Mixed",
        "first": {"_target_": "jaxrec.negatives.popularity.Popularity"},
        "second": {"_target_": "jaxrec.negatives.uniform.Uniform"},
    },
    # mines in the first timed epoch
    {"_target_": "jaxrec.negatives.hard.Hard", "ranks": (1, HARDEST), "warmup": 1, "refresh": 1_000_000},
    {"_target_": "jaxrec.negatives.dynamic.Dynamic", "candidates": 4},
    {"_target_": "jaxrec.negatives.dynamic.Dynamic", "candidates": 8},
]


def mine(tree: Tree, repeats: int) -> tuple[list[float], dict[str, float]]:
    """Time the 50 hardest unseen items of every user, from an untrained model.

    Returns:
        The seconds of each repeat, and figures.

    `limit_s` is the time of the multiplications alone at the rate of a large matrix product, measured in between.

    Raises:
        InputError: a user has too few unseen items, or a list differs from a NumPy ranking of all scores.
    """
    data: Interactions = build(tree["data"])
    pairs = np.unique(data.user.astype(np.int64) * data.n_items + data.item)
    if data.n_items - np.bincount(pairs // data.n_items).max() < HARDEST:
        raise InputError(f"case=mining: a user has fewer than {HARDEST} unseen items: increase data.n_items")
    _, shared, population = next(populations([tree]))
    model = build(shared["model"], n_users=data.n_users, n_items=data.n_items)
    hyper = population.hyper
    params = jax.jit(lambda hyper: fresh(model, jax.random.key(0), hyper))(jax.tree.map(lambda x: x[0], hyper))
    stacked = jax.tree.map(lambda x: x[None], params)
    query_rows = QueryRows.for_users(np.arange(data.n_users), data.histories)
    started = time.perf_counter()
    ranker = Ranker(model, query_rows, HARDEST, block=get(tree, "eval.block"))
    items = np.asarray(ranker(stacked, hyper).items)[0]
    first = time.perf_counter() - started
    _check(model, params, data, items)
    seconds, rates = [], []
    for _ in range(repeats):
        rates.append(matrix_rate())
        seconds.append(_timed(lambda: np.asarray(ranker(stacked, hyper).items)))
    flops = data.n_users * flops_of_a_user(model, params, data)
    return seconds, {
        "compile_s": round(first - min(seconds), 2),
        "gflop": round(flops / 1e9),
        "gflop_per_s": round(max(rates) / 1e9),
        "limit_s": round(flops / max(rates), 2),
        "times_limit": round(min(seconds) * max(rates) / flops, 1),
    }


def epochs(tree: Tree, repeats: int) -> list[tuple[str, list[float]]]:
    """Time epochs with each sampler; uniform comes first and last. An epoch that mines is a separate row."""
    data: Interactions = build(tree["data"])
    timings = []
    for node in [*SAMPLERS, SAMPLERS[0]]:
        ratio = node.get("ratio", tree["negatives"]["ratio"])
        n_epochs = 1 + ("refresh" in node) + repeats  # the first one compiles, the second one mines
        sampler_tree = put(tree, {"trainer.epochs": n_epochs, "trainer.patience": None}) | {
            "negatives": node | {"ratio": ratio}
        }
        _, shared, population = next(populations([sampler_tree]))
        model = build(shared["model"], n_users=data.n_users, n_items=data.n_items)
        trainer = experiment.trainer(shared)
        seconds = [row["seconds"] for row in trainer(model, data, population).history[0]][1:]
        name = target_name(node) + "".join(
            f" {key}={node[key]}" for key in ("ratio", "candidates", "exclude_known") if key in node
        )
        if "refresh" in node:
            timings.append((f"{name} epoch with mining", seconds[:1]))
            seconds = seconds[1:]
        timings.append((name, seconds))
    return timings


def matrix_rate(n: int = 2048) -> float:
    """Measure the FLOP/s of n x n matrix products on all devices in parallel."""
    product = jax.pmap(lambda a, b: a @ b)
    a = jnp.ones((jax.device_count(), n, n), jnp.float32)
    jax.block_until_ready(product(a, a))
    seconds = min(_timed(lambda: jax.block_until_ready(product(a, a))) for _ in range(3))
    return jax.device_count() * 2.0 * n**3 / seconds


def flops_of_a_user(model: Model, params: Params, data: Interactions, users: int = 8) -> float:
    """Return the FLOPs of scoring the catalog for one additional user, as counted by the compiler.

    Lowered for an accelerator, which scores all users at once: of a CPU loop the compiler counts one iteration.
    """

    def counted(n: int) -> float:
        query = query_of(model, QueryRows.for_users(np.arange(n), data.histories))
        score = jax.jit(lambda params, query: model.bind(params).score_catalog(query))
        cost = score.trace(params, query).lower(lowering_platforms=("cuda",)).cost_analysis()
        return float(cost["flops"])

    return (counted(2 * users) - counted(users)) / users


def _check(model: Model, params: Params, data: Interactions, items: np.ndarray) -> None:
    known = data.histories
    everything = jnp.arange(data.n_items, dtype=jnp.int32)[None, :]
    for user in np.random.default_rng(0).choice(data.n_users, CHECKED, replace=False):
        query = query_of(model, QueryRows.for_users(np.array([user]), known))
        scores = np.array(model.bind(params)(query, everything)[0])
        scores[known.masked(np.array([user]))[1]] = -np.inf
        best = np.sort(scores)[::-1][: items.shape[1]]
        if len(set(items[user].tolist())) < items.shape[1] or not np.allclose(scores[items[user]], best, atol=1e-5):
            raise InputError(f"the items mined for user {user} are not the top {items.shape[1]} of all scores")


def _timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
