"""Sampled evaluation: each held-out item is ranked among candidates only; metric keys have the prefix `sampled_`.

Sampled metrics do not estimate full-catalog metrics and may order models differently.
[Krichene and Rendle 2020, On sampled metrics for item recommendation]
"""

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int
from pydantic import NonNegativeInt, PositiveInt

from jaxrec.blockwise import Block, Blockwise, block_size, map_members
from jaxrec.data.splits.candidate_lists import draw_candidates, read_candidates
from jaxrec.data.splits.split import HeldOut
from jaxrec.errors import InputError
from jaxrec.evaluation.evaluation import EvaluationSettings, Evaluator, Measured, invalidated
from jaxrec.evaluation.ground_truth import ground_truth
from jaxrec.fallback import Fallback, FoldIn, Sources
from jaxrec.hyper import Hyper
from jaxrec.metric_names import OF_LIST, RANKED, SAMPLED, Metric, check_monitor, keys, metrics, per_user
from jaxrec.models.model import Model, Params
from jaxrec.ragged import Ragged, ragged
from jaxrec.ranking import Rows, rows_of, sources_of


class CandidateEvaluator(Evaluator):
    """Ranks every held-out item among its user's candidates; metrics are averaged over held-out items.

    The rank is 1 + the number of candidates with a score at least as high, so ties never favor the target.
    """

    prefix = SAMPLED

    def __init__(
        self,
        model: Model,
        held_out: HeldOut,
        lists: tuple[np.ndarray, np.ndarray],
        *,
        k: tuple[int, ...],
        block: int | None = None,
        fallback: Fallback | None = None,
        chosen: tuple[Metric, ...] = (),
    ) -> None:
        self.model, self.k = model, tuple(sorted(k))
        self.metrics = chosen or metrics(RANKED, [OF_LIST])
        self.ground_truth = ground_truth(held_out, one_per_row=True)
        queries, (offsets, items) = self.ground_truth.queries, lists
        self._width = int(np.max(np.diff(offsets)[queries.users]))
        if self.k[-1] > self._width + 1:
            raise InputError(
                f"eval.k={self.k[-1]} exceeds the {self._width + 1} ranked items (the candidates and the target): "
                "choose smaller eval.k"
            )
        sources, folds = sources_of(model, queries, fallback)
        targets = jnp.asarray(self.ground_truth.items, jnp.int32)
        shared = rows_of(model, queries, folds), targets, ragged(offsets, items), sources
        rows_at_a_time = block_size(len(targets), max(model.n_items, self._width), block)
        self.blockwise = Blockwise(
            partial(_rank_member, self._width), (model, folds), shared, len(targets), rows_at_a_time
        )

    def measure(self, params: Params, hyper: Hyper, active: Bool[np.ndarray, "P"] | None = None) -> Measured:
        """Metrics of every member; see `Evaluator.measure`."""
        ranks, finite = self.blockwise(params, hyper, active)
        hits, by_metric = _measure(ranks, self.k, self.metrics)
        lists = jnp.where(hits, jnp.asarray(self.ground_truth.items, jnp.int32)[None, :, None], -1)
        named = {SAMPLED + key: values for key, values in by_metric.items()}
        return Measured(invalidated(named, finite), {}, lists, finite)


def _rank_member(
    width: int,
    models: tuple[Model, Model | None],
    shared: tuple[Rows, Int[Array, "R"], Ragged, Sources | None],
    params: Params,
    hyper: Hyper,
) -> Block:
    """Function that ranks the targets of a block of rows, among up to `width` candidates, for one member."""
    queries, targets, lists, sources = shared  # one target per row, one list of candidates per user
    model, folds = queries.members(models, hyper)

    def rank_block(rows: Int[Array, "B"]) -> tuple[Int[Array, "B"], Bool[Array, ""]]:
        start, end = (lists.offsets[queries.users[rows] + i][:, None] for i in (0, 1))
        entry = start + jnp.arange(width)[None, :]
        target = targets[rows][:, None]
        candidates = lists.items.at[entry].get(mode="clip")
        # The target is ranked once, even if a file lists it among its candidates.
        used = (entry < end) & (candidates != target)
        items = jnp.concatenate([target, candidates], axis=1)
        scores = model.bind(params)(queries.query(rows, model.history_length), items)
        finite = jnp.isfinite(scores).all()
        if sources is not None:
            fold_in = None if folds is None else FoldIn.pairs(folds, params, items)
            scores = sources.blended(rows, scores, items, queries.query, fold_in)
        return 1 + jnp.sum(used & (scores[:, 1:] >= scores[:, :1]), axis=1, dtype=jnp.int32), finite

    return rank_block


@partial(jax.jit, static_argnames=("ks", "chosen"))
def _measure(
    ranks: Int[Array, "P R"], ks: tuple[int, ...], chosen: tuple[Metric, ...]
) -> tuple[Bool[Array, "P R K"], dict[str, Array]]:
    """Position of each target in its list, and the metrics; evaluators of the same shapes share the program."""

    def of_member(ranks: Array) -> tuple[Array, dict[str, Array]]:
        hits = ranks[:, None] == jnp.arange(1, ks[-1] + 1)[None, :]
        return hits, per_user(hits, jnp.ones_like(ranks), ks, chosen)

    return map_members(of_member)(ranks)


@dataclass(frozen=True)
class CandidateEvaluation(EvaluationSettings):
    """Settings of sampled evaluation: each held-out item is ranked among candidates ("1 + 99").

    Attributes:
        path: file with one row per candidate (.csv, .tsv, .parquet), for both validation and test; None: random
            candidates
        user_column, item_column: columns of that file with original ids
        n: random candidates per user, from items that are neither known nor relevant; all of them if there are fewer
        seed: random seed of the candidates
        k: list lengths to report
        monitor: validation metric for early stopping and searches
        block: rows per block on a device; None: chosen by catalog size. Does not affect results
        metrics: metrics of user lists to report, see `FullCatalog`
    """

    path: str | Path | None = None
    user_column: str = "user_id"
    item_column: str = "item_id"
    n: PositiveInt = 99
    seed: NonNegativeInt = 0
    k: tuple[PositiveInt, ...] = (5, 10, 20)
    monitor: str = "sampled_ndcg@10"
    block: PositiveInt | None = None
    metrics: tuple[str, ...] | None = None  # None: those of conf/eval

    def __post_init__(self) -> None:
        check_monitor(self.monitor, self.measured)
        if self.path is None and max(self.k) > self.n + 1:
            raise InputError(
                f"eval.k={max(self.k)} exceeds the {self.n + 1} ranked items, the target and eval.n={self.n} "
                f"candidates: set eval.n={max(self.k) - 1} or more, or choose smaller eval.k"
            )

    @property
    def measured(self) -> tuple[str, ...]:
        """Keys of all reported metrics."""
        return keys(self.chosen, self.k, SAMPLED)

    @property
    def chosen(self) -> tuple[Metric, ...]:
        """The metrics to report."""
        return metrics(RANKED if self.metrics is None else self.metrics, [OF_LIST])

    @property
    def monitored(self) -> "CandidateEvaluation":
        """The settings that measure the monitor alone."""
        name, _, k = self.monitor.removeprefix(SAMPLED).rpartition("@")
        return replace(self, k=(int(k),), metrics=(name,))

    def evaluator(self, model: Model, held_out: HeldOut, fallback: Fallback | None = None) -> CandidateEvaluator:
        """Build the evaluator of a model, with the candidates of these held-out items."""
        if self.path is None:
            lists = draw_candidates(held_out, self.n, self.seed)
        else:
            columns = {"user_column": self.user_column, "item_column": self.item_column}
            lists = read_candidates(Path(self.path), held_out, **columns)
        return CandidateEvaluator(
            model, held_out, lists, k=self.k, block=self.block, fallback=fallback, chosen=self.chosen
        )
