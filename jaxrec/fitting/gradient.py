"""Gradient fits: one epoch of a whole population is one device program."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray
from pydantic import PositiveInt

from jaxrec.data.interactions import Interactions
from jaxrec.fitting.objective import Objective
from jaxrec.fitting.permutation import shuffled
from jaxrec.fitting.population import Members, Population, member_keys, place
from jaxrec.hyper import Hyper, with_hyper
from jaxrec.query import Query
from jaxrec.random import Stream, stream, substream

Validate = Callable[[Any, Hyper], list[dict[str, float]]]  # parameters [P, ...] → metrics of each member


class State(NamedTuple):
    """A member in training."""

    params: Any
    optimizer: Any
    source: Stream
    epoch: Int[Array, ""]


@dataclass
class Fit:
    """A fitted population: parameters [P, ...], and a record of how each member got there."""

    params: Any
    history: list[list[dict[str, float]]]
    best_epoch: list[int]
    placement: str
    diverged: list[bool] = field(default_factory=list)  # members without one epoch of finite loss and scores
    compile_s: float = 0.0
    train_s: float = 0.0
    validate_s: float = 0.0
    interrupted: bool = False


@dataclass(frozen=True)
class GradientFit:
    """Trains for up to `epochs`, keeps the parameters of each member's best validation.

    objective, optimizer: what a step minimises, and how
    batch_size:     examples a step (interactions; users for `loss=softmax`)
    patience:       validations without improvement after which a member stops; None trains to the end
    validate_every: epochs between validations
    monitor:        the validation metric that decides, larger being better
    members:        `vmap` or `in_turn` within a device; `auto` decides by backend and size
    """

    objective: Objective
    optimizer: Callable[..., optax.GradientTransformation]
    epochs: PositiveInt = 50
    batch_size: PositiveInt = 2048
    patience: PositiveInt | None = 5
    validate_every: PositiveInt = 1
    members: Members = "auto"
    monitor: str = field(default="ndcg@10", kw_only=True)

    def __call__(
        self,
        model: nn.Module,
        train: Interactions,
        population: Population,
        validate: Validate | None = None,
        on_epoch: Callable[[int, list[dict[str, float]]], None] = lambda epoch, rows: None,
        epochs: Sequence[int] | None = None,
    ) -> Fit:
        """Fits every member, for `epochs` of its own where given. Without `validate` the last parameters are kept.

        Ctrl-C ends training and drops the epoch in progress; what was best until then is returned, marked interrupted.
        """
        examples, n_examples = self.objective.examples(train)
        batch_size = min(self.batch_size, n_examples)
        placement = place(population.size, batch_size, self.members, getattr(self.objective, "split_batch", False))
        examples = placement.share(examples)
        keys, hyper = placement.deal((member_keys(population.seeds), population.hyper))

        started = time.perf_counter()
        start = jax.jit(placement.map(lambda _, key, hyper: self._start(model, key, hyper)))
        states = start((), keys, hyper)
        penalised = hasattr(model, "penalty") and bool(np.any(population.hyper.regularization))

        def epoch_of_one(examples: Any, *member: Any) -> tuple[State, Array]:
            return self._epoch(model, n_examples, batch_size, placement.n_split, penalised, examples, *member)

        limit = placement.pad(np.full(population.size, self.epochs) if epochs is None else np.array(epochs))
        active = np.ones(len(keys), bool)
        jitted = jax.jit(placement.map(epoch_of_one), donate_argnums=1)
        program = jitted.lower(examples, states, hyper, active).compile()
        keep_better = jax.jit(_keep_better)
        best = jax.tree.map(jnp.copy, states.params)
        fit = Fit(None, [[] for _ in range(population.size)], [0] * population.size, str(placement))
        fit.compile_s = time.perf_counter() - started

        score = np.full(len(keys), -np.inf)
        stale = np.zeros(len(keys), int)
        try:
            for epoch in range(1, limit.max() + 1):
                started = time.perf_counter()
                states, loss = program(examples, states, hyper, active)
                loss = np.asarray(loss)
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
                    now = placement.pad(np.array([found[self.monitor] for found in metrics]))
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

    def _start(self, model: nn.Module, key: PRNGKeyArray, hyper: Hyper) -> State:
        init_key, key = jax.random.split(key)
        nobody = Query(jnp.zeros(1, jnp.int32))
        params = with_hyper(model, hyper).init(init_key, nobody, jnp.zeros((1, 1), jnp.int32))
        return State(params, self._optimizer(hyper).init(params), stream(key), jnp.int32(0))

    def _optimizer(self, hyper: Hyper) -> optax.GradientTransformation:
        return self.optimizer(learning_rate=hyper.learning_rate, weight_decay=hyper.weight_decay)

    def _epoch(
        self,
        model: nn.Module,
        n_examples: int,
        batch_size: int,
        n_split: int,
        penalised: bool,
        examples: Any,
        state: State,
        hyper: Hyper,
        active: Array,
    ) -> tuple[State, Float[Array, ""]]:
        """Every example once, in an order of its own; a member that has stopped is left as it is."""
        model, optimizer = with_hyper(model, hyper), self._optimizer(hyper)
        of_epoch = substream(state.source, state.epoch)
        order, draws = substream(of_epoch, 0), substream(of_epoch, 1)

        share = batch_size // n_split  # what this device has of every batch
        own = jax.lax.axis_index("batch") * share + jnp.arange(share) if n_split > 1 else jnp.arange(share)

        def step(carry: tuple[Any, Any], number: Array) -> tuple[tuple[Any, Any], tuple[Array, Array]]:
            params, moments = carry
            position = number * batch_size + own
            rows = shuffled(order, n_examples, jnp.minimum(position, n_examples - 1))
            inside = (position < n_examples).astype(
                jnp.float32
            )  # the last batch may be short: its padding weighs nothing

            def objective(params: Any) -> tuple[Array, tuple[Array, Array]]:
                cost, weight = self.objective.costs(model, params, examples, rows, draws, hyper, penalised)
                total, weights = jnp.sum(cost * inside), jnp.sum(weight * inside)
                # Each device divides by the weight of the whole batch, then their gradients add up.
                whole = jax.lax.psum(weights, "batch") if n_split > 1 else weights
                # Where nothing weighs anything, as in a window without a target, nothing is learnt.
                return total / jnp.maximum(whole, jnp.finfo(whole.dtype).tiny), (total, weights)

            gradient, sums = jax.grad(objective, has_aux=True)(params)
            if n_split > 1:
                gradient, sums = jax.lax.psum((gradient, sums), "batch")
            with jax.numpy_dtype_promotion("standard"):  # optax mixes counts with floats
                updates, moments = optimizer.update(gradient, moments, params)
            return (optax.apply_updates(params, updates), moments), sums

        def train(state: State) -> tuple[State, Array]:
            steps = jnp.arange(-(-n_examples // batch_size))
            (params, moments), (totals, weights) = jax.lax.scan(step, (state.params, state.optimizer), steps)
            return State(params, moments, state.source, state.epoch + 1), jnp.sum(totals) / jnp.sum(weights)

        return jax.lax.cond(active, train, lambda state: (state, jnp.float32(jnp.nan)), state)


def _keep_better(improved: Array, best: Any, now: Any) -> Any:
    """Parameters of the members that improved, the best so far of the others."""

    def choose(best: Array, now: Array) -> Array:
        return jnp.where(improved.reshape(-1, *[1] * (now.ndim - 1)), now, best)

    return jax.tree.map(choose, best, now)
