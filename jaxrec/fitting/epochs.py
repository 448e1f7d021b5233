"""Epoch after epoch of a whole population: validation, early stopping, the best parameters of each member kept."""

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
    """A fitted population: parameters [P, ...], and a record of how each member got there."""

    params: Params
    history: list[list[dict[str, Any]]]  # of every member, a row an epoch: epoch, loss, seconds, metrics
    best_epoch: list[int]
    placement: str
    diverged: list[bool] = field(default_factory=list)  # members without one epoch of finite loss and scores
    compile_s: float = 0.0
    train_s: float = 0.0
    validate_s: float = 0.0
    interrupted: bool = False


@dataclass(frozen=True, kw_only=True)
class EpochLoop:
    """How long a fit goes on, and which of its epochs is kept.

    epochs:         at most so many
    patience:       validations without improvement after which a member stops; None trains to the end
    validate_every: epochs between validations
    monitor:        the validation metric that decides
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
        """Runs `program`: states (each with `params`) of all members → states one epoch on, and a loss each.

        `before` an epoch (counted from 1) states may be changed, by what their parameters say then; its time counts.
        Members that are not `active` are to be left as they are. A member trains for `epochs` of its own where given.
        Without `validate` the last parameters are kept. Ctrl-C ends training and drops the epoch in progress; what was
        best until then is returned, marked interrupted.
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
                trained, active = active, active & np.isfinite(loss)  # a diverged member stops, the others go on
                rows = [{"epoch": epoch, "loss": float(loss[m]), "seconds": seconds} for m in range(population.size)]
                if validate is None:
                    improved = active
                elif epoch % self.validate_every == 0 or epoch == limit.max():
                    started = time.perf_counter()
                    metrics = validate(placement.cut(states.params), population.hyper)
                    fit.validate_s += time.perf_counter() - started
                    for row, found in zip(rows, metrics, strict=True):
                        row.update(found)
                    now = sign * placement.pad(np.array([found[self.monitor] for found in metrics]))
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
    """The parameters that a member starts with."""
    length = model.history_length
    nobody = Query(jnp.zeros(1, jnp.int32), History(jnp.full((1, length), -1)) if length else None)
    return dict(with_hyper(model, hyper).init(key, nobody, jnp.zeros((1, 1), jnp.int32)))


def _keep_better(improved: Array, best: PyTree, now: PyTree) -> PyTree:
    """Parameters of the members that improved, the best so far of the others."""

    def choose(best: Array, now: Array) -> Array:
        return jnp.where(improved.reshape(-1, *[1] * (now.ndim - 1)), now, best)

    return jax.tree.map(choose, best, now)
