"""Fits that solve instead of descending: arrays made of the data once, a solution a member."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import jax
from jaxtyping import PyTree

from jaxrec.data.interactions import Interactions
from jaxrec.fitting.epochs import Fit, OnEpoch, Validate
from jaxrec.fitting.population import Population, place
from jaxrec.hyper import Hyper, with_hyper
from jaxrec.models.model import Params, Solved


@dataclass(frozen=True)
class ClosedForm:
    """Fits a model that is `Solved`."""

    def __call__(
        self,
        model: Solved,
        train: Interactions,
        population: Population,
        validate: Validate | None = None,
        on_epoch: OnEpoch | None = None,
        epochs: Sequence[int] | None = None,
    ) -> Fit:
        """Solves for every member, in turn within a device: one solution's matrices fill it."""
        placement = place(population.size, 1, "in_turn")
        if jax.default_backend() == "cpu":
            model.needs_memory(population.size, placement.n_devices)
        started = time.perf_counter()
        prepared = placement.share(model.prepare(train))

        def solve(prepared: PyTree, hyper: Hyper) -> Params:
            return {"params": with_hyper(model, hyper).solve(prepared)}

        params = jax.block_until_ready(jax.jit(placement.map(solve))(prepared, placement.deal(population.hyper)))
        seconds = time.perf_counter() - started
        history: list[list[dict[str, float]]] = [[] for _ in range(population.size)]
        nobody = [False] * population.size
        return Fit(placement.cut(params), history, [0] * population.size, str(placement), nobody, train_s=seconds)
