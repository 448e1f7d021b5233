"""Epoch loop of a population: validation, early stopping, and keeping the best parameters of each member."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray, PyTree
from pydantic import PositiveInt

from jaxrec.fitting.population import Placement, Population
from jaxrec.history import History
from jaxrec.hyper import Hyper, with_hyper
from jaxrec.metric_names import larger_is_better
from jaxrec.models.model import Model, Params
from jaxrec.query import Query

Validate = Callable[[Params, Hyper], list[dict[str, float]]]  # parameters [P, ...] → metrics of each member
OnEpoch = Callable[[int, list[dict[str, float]]], None]


@dataclass
class Fit:
    """A fitted population: parameters [P, ...] and the training record of each member."""

    params: Params
    history: list[list[dict[str, Any]]]  # per member, one row per epoch: epoch, loss, seconds, metrics
    best_epoch: list[int]
    placement: str
    diverged: list[bool] = field(default_factory=list)  # members without one epoch of finite loss and scores
    compile_s: float = 0.0
    train_s: float = 0.0
    validate_s: float = 0.0
    interrupted: bool = False


@dataclass(frozen=True, kw_only=True)
class EpochLoop:
    """Stopping rule and model selection of iterative fits.

    Attributes:
        epochs: maximum number of epochs
        patience: number of validations without improvement after which a member stops; None: train for all epochs
        validate_every: epochs between validations
        monitor: validation metric for early stopping and for choosing the best epoch
    """

    epochs: PositiveInt = 50
    patience: PositiveInt | None = 5
    validate_every: PositiveInt = 1
    monitor: str = "ndcg@10"

    def train(
        self,
        program: Callable[[PyTree, np.ndarray], tuple[PyTree, Array]],
        states: PyTree,
        population: Population,
        placement: Placement,
        validate: Validate | None,
        on_epoch: OnEpoch,
        epochs: Sequence[int] | None,
        before: Callable[[int, PyTree], PyTree] = lambda epoch, states: states,
    ) -> Fit:
        """Train all members epoch by epoch and keep the best parameters of each.

        Ctrl-C ends training and discards the epoch in progress; the best parameters so far are returned, with
        `interrupted` set.

        Args:
            program: (states, active) → states after one epoch and a loss per member; states have a field `params`.
                Must leave members unchanged that are not active.
            states: initial states of all members.
            population: seeds and hyperparameters of the members.
            placement: distribution of the members over devices.
            validate: computes the validation metrics of each member; None: the last parameters are kept.
            on_epoch: called after each epoch with one row of results per member.
            epochs: number of epochs of each member, if they differ; None: `self.epochs`.
            before: may change the states before an epoch (counted from 1); its time counts as training time.
        """
        limit = placement.pad(np.full(population.size, self.epochs) if epochs is None else np.array(epochs))
        active = np.ones(len(limit), bool)
        keep_better = jax.jit(_keep_better)
        best = jax.tree.map(jnp.copy, states.params)
        fit = Fit(best, [[] for _ in range(population.size)], [0] * population.size, str(placement))

        score = np.full(len(limit), -np.inf)
        sign = 1 if larger_is_better(self.monitor) else -1
        stale = np.zeros(len(limit), int)
        try:
            for epoch in range(1, limit.max() + 1):
                started = time.perf_counter()
                states, losses = program(before(epoch, states), active)
                loss = np.asarray(losses)
                seconds = time.perf_counter() - started
                fit.train_s += seconds
                trained, active = active, active & np.isfinite(loss)  # a diverged member stops, others continue
                rows = [{"epoch": epoch, "loss": float(loss[m]), "seconds": seconds} for m in range(population.size)]
                if validate is None:
                    improved = active
                elif epoch % self.validate_every == 0 or epoch == limit.max():
                    started = time.perf_counter()
                    metrics = validate(placement.cut(states.params), population.hyper)
                    fit.validate_s += time.perf_counter() - started
                    for row, measured in zip(rows, metrics, strict=True):
                        row.update(measured)
                    now = sign * placement.pad(np.array([measured[self.monitor] for measured in metrics]))
                    improved = active & (now > score)
                    score = np.where(improved, now, score)
                    stale = np.where(improved, 0, stale + 1)
                else:
                    improved = np.zeros_like(active)
                best = keep_better(improved, best, states.params)
                for m in np.flatnonzero(trained[: population.size]):
                    fit.history[m].append(rows[m])
                    if improved[m]:
                        fit.best_epoch[m] = epoch
                on_epoch(epoch, [rows[m] if trained[m] else {} for m in range(population.size)])
                active = active & (epoch < limit)
                if self.patience is not None and validate is not None:
                    active = active & (stale < self.patience)
                if not active.any():
                    break
        except KeyboardInterrupt:
            fit.interrupted = True
        fit.params = placement.cut(best)
        fit.diverged = [best_epoch == 0 and not fit.interrupted for best_epoch in fit.best_epoch]
        return fit


def fresh(model: Model, key: PRNGKeyArray, hyper: Hyper) -> Params:
    """Initialize the parameters of a member."""
    length = model.history_length
    query = Query(jnp.zeros(1, jnp.int32), History(jnp.full((1, length), -1)) if length else None)
    return dict(with_hyper(model, hyper).init(key, query, jnp.zeros((1, 1), jnp.int32)))


def _keep_better(improved: Array, best: PyTree, now: PyTree) -> PyTree:
    """Current parameters of members that improved, best parameters so far of the others."""

    def choose(best: Array, now: Array) -> Array:
        return jnp.where(improved.reshape(-1, *[1] * (now.ndim - 1)), now, best)

    return jax.tree.map(choose, best, now)
