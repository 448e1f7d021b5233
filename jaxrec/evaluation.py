"""Exact full-catalogue evaluation: ranking + held-out interactions → metrics of each user and in the mean."""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from pydantic import PositiveInt

from jaxrec.data.histories import histories, select_rows
from jaxrec.data.interactions import by_user
from jaxrec.data.split import Held
from jaxrec.errors import InputError
from jaxrec.hyper import Hyper
from jaxrec.metrics import RANKING, coverage, mean_and_interval, per_user
from jaxrec.ragged import ragged, sort_rows
from jaxrec.ranking import Asked, Ranker


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Metrics of a population: of each user [P, R] by key, and over the lists together [P] (coverage)."""

    users: np.ndarray
    per_user: dict[str, np.ndarray]
    overall: dict[str, np.ndarray]

    def means(self, member: int) -> dict[str, float]:
        """Every metric of one member, in the mean over users with something to find."""
        means = {key: float(np.mean(values[member], dtype=np.float64)) for key, values in self.per_user.items()}
        return means | {key: float(values[member]) for key, values in self.overall.items()}

    def intervals(self, member: int) -> dict[str, tuple[float, float]]:
        """95 % bootstrap interval, over users, of each mean."""
        return {key: mean_and_interval(values[member])[1:] for key, values in self.per_user.items()}

    def table(self, member: int, user_ids: np.ndarray) -> pd.DataFrame:
        """One row a user: user_id and each metric."""
        columns = {key: values[member] for key, values in self.per_user.items()}
        return pd.DataFrame({"user_id": user_ids[self.users], **columns})


class Evaluator:
    """Ranks for every user who has something to find, with the targets they know masked; see `Ranker`."""

    def __init__(
        self,
        model: nn.Module,
        held: Held,
        *,
        k: tuple[int, ...],
        block: int | None = None,
        exclude_known: bool = True,
    ) -> None:
        self.k, self.n_items = tuple(sorted(k)), held.target.n_items
        offsets, items = by_user(held.target)
        self.users = np.flatnonzero(np.diff(offsets))
        if not len(self.users):
            raise InputError(f"{held.target.name}: no user has a held-out item to be found; hold out more")
        offsets, items = select_rows(offsets, items, self.users)
        self._relevant = ragged(offsets, sort_rows(offsets, items))
        self._n_relevant = jnp.asarray(np.diff(offsets), jnp.int32)
        asked = Asked.about(self.users, histories(held.known))
        self.ranker = Ranker(model, asked, self.k[-1], block=block, exclude_known=exclude_known)
        self._measure = jax.jit(jax.vmap(self._measure_member, in_axes=(None, None, 0)))

    def __call__(self, params: Any, hyper: Hyper) -> Evaluation:
        """Parameters and numbers with a leading member axis → metrics of every member; NaN for a diverged one."""
        ranked = self.ranker(params, hyper)
        by_metric, overall = self._measure(self._relevant, self._n_relevant, ranked.items)
        valid = np.where(ranked.finite, 1.0, np.nan).astype(np.float32)
        return Evaluation(
            self.users,
            {key: np.asarray(values) * valid[:, None] for key, values in by_metric.items()},
            {key: np.asarray(values) * valid for key, values in overall.items()},
        )

    def _measure_member(self, relevant: Any, n_relevant: Any, items: Any) -> Any:
        hits = relevant.contains(jnp.arange(len(self.users)), items)
        overall = OrderedDict((f"coverage@{k}", coverage(items[:, :k], self.n_items)) for k in self.k)
        return per_user(hits, n_relevant, self.k), overall


@dataclass(frozen=True)
class FullCatalogue:
    """How a fitted model is measured: the whole catalogue ranked for each user.

    k:       list lengths to report
    monitor: the validation metric that early stopping and searches look at
    block:   users ranked at a time on a device; null chooses by the catalogue's size. No number depends on it
    exclude_known: leave out what a user already has (train, and validation when testing)
    """

    k: tuple[PositiveInt, ...] = (5, 10, 20)
    monitor: str = "ndcg@10"
    block: PositiveInt | None = None
    exclude_known: bool = True

    def __post_init__(self) -> None:
        if self.monitor not in self.measured:
            raise InputError(f"eval.monitor={self.monitor} is not measured; there are {', '.join(self.measured)}")

    @property
    def measured(self) -> tuple[str, ...]:
        """Keys of all metrics."""
        return tuple(f"{key}@{k}" for k in self.k for key in (*RANKING, "coverage"))

    @property
    def ranking(self) -> "FullCatalogue":
        """What of this any model can be measured by."""
        return self

    def evaluator(self, model: nn.Module, held: Held) -> Evaluator:
        """For a model of this catalogue; k beyond the catalogue is refused."""
        if max(self.k) > (n_items := held.target.n_items):
            raise InputError(f"eval.k={max(self.k)} is more than the {n_items} items of the catalogue")
        return Evaluator(model, held, k=self.k, block=self.block, exclude_known=self.exclude_known)
