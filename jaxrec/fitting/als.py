"""Alternating least squares: an epoch solves for one half of the parameters, then for the other."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from jaxrec.data.interactions import Interactions
from jaxrec.fitting.epochs import EpochLoop, Fit, OnEpoch, fresh
from jaxrec.fitting.member_program import MemberProgram, Validate
from jaxrec.fitting.population import Placement, Population, place
from jaxrec.fitting.saved_slots import SavedSlots
from jaxrec.hyper import Hyper, with_hyper, zeroed
from jaxrec.mesh import batch_shared_by
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
        saved: SavedSlots | None = None,
        n_slots: int = 1,
    ) -> Fit:
        """Fit every member in at least `n_slots` slots; see `EpochLoop.train` for the other arguments."""

        def fit(n_slots: int) -> Fit:
            program, placement = self.program(model, train, population.hyper, n_slots)
            return self.train(program, placement, population, validate, on_epoch, epochs, saved)

        return self.halving(max(n_slots, self.n_slots(population)), fit)

    def program(
        self, model: Alternating, train: Interactions, hyper: Hyper, n_slots: int
    ) -> tuple[MemberProgram, Placement]:
        """Program of a member, and placement of the slots: sequential, because one member's matrices fill a device."""
        placement = place(n_slots, "sequential", split_batch=True)
        prepared = placement.replicate(jax.tree.map(jnp.asarray, model.prepare(train)))
        own = zeroed(model, hyper.of("model"))
        return MemberProgram(prepared, partial(_start, own), partial(_epoch, own, placement.n_batch_devices)), placement


def _start(model: Alternating, prepared: PyTree, key: PRNGKeyArray, hyper: Hyper) -> State:
    """Initial state of a member."""
    return State(fresh(model, key, hyper))


def _epoch(
    model: Alternating, n_devices: int, prepared: PyTree, state: State, hyper: Hyper, active: Array
) -> tuple[State, Float[Array, ""]]:
    """Solve for both halves, on `n_devices` devices; a member that is not active is returned unchanged."""

    def improve(state: State) -> tuple[State, Array]:
        with batch_shared_by(n_devices, 0):
            params, loss = with_hyper(model, hyper).bind(state.params).als_step(prepared)
        return State({"params": params}), loss

    return jax.lax.cond(active, improve, lambda state: (state, jnp.float32(jnp.nan)), state)
