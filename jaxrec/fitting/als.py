"""Alternating least squares: an epoch solves for one half of the parameters, then for the other."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from jaxrec.data.interactions import Interactions
from jaxrec.fitting.epochs import EpochLoop, Fit, OnEpoch, Validate, fresh
from jaxrec.fitting.population import Population, member_keys, place
from jaxrec.hyper import Hyper, with_hyper
from jaxrec.models.model import Alternating, Params


class State(NamedTuple):
    """State of a member between two steps."""

    params: Params


@dataclass(frozen=True)
class AlternatingFit(EpochLoop):
    """Fits an `Alternating` model. One step is one epoch; see `EpochLoop` for the stopping rule."""

    def __call__(
        self,
        model: Alternating,
        train: Interactions,
        population: Population,
        validate: Validate | None = None,
        on_epoch: OnEpoch = lambda epoch, rows: None,
        epochs: Sequence[int] | None = None,
    ) -> Fit:
        """Fit every member, sequentially on each device, because one member's matrices fill it."""
        placement = place(population.size, 1, "sequential")
        prepared = placement.share(jax.tree.map(jnp.asarray, model.prepare(train)))
        keys, hyper = placement.deal((member_keys(population.seeds), population.hyper))

        started = time.perf_counter()
        start = jax.jit(placement.map(lambda _, key, hyper: State(fresh(model, key, hyper))))
        states = start((), keys, hyper)

        def step(prepared: PyTree, state: State, hyper: Hyper, active: Array) -> tuple[State, Array]:
            def improve(state: State) -> tuple[State, Array]:
                params, loss = with_hyper(model, hyper).bind(state.params).als_step(prepared)
                return State({"params": params}), loss

            return jax.lax.cond(active, improve, lambda state: (state, jnp.float32(jnp.nan)), state)

        jitted = jax.jit(placement.map(step), donate_argnums=1)
        program = jitted.lower(prepared, states, hyper, np.ones(len(keys), bool)).compile()
        compile_s = time.perf_counter() - started

        def one_epoch(states: State, active: np.ndarray) -> tuple[State, Array]:
            return program(prepared, states, hyper, active)

        fit = self.train(one_epoch, states, population, placement, validate, on_epoch, epochs)
        fit.compile_s = compile_s
        return fit
