"""Closed-form fits: statistics of the data are computed once, and solved for each member."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import jax
import numpy as np
from jaxtyping import PyTree

from jaxrec import backend, programs
from jaxrec.data.interactions import Interactions
from jaxrec.fitting.epochs import Fit, OnEpoch
from jaxrec.fitting.member_program import Validate
from jaxrec.fitting.population import Placement, Population
from jaxrec.fitting.saved_slots import SavedSlots
from jaxrec.hyper import Hyper, with_hyper, zeroed
from jaxrec.models.model import Params, Solved


@dataclass(frozen=True)
class ClosedForm:
    """Fits a `Solved` model; on a CPU by `solve_on_host`, which needs less memory, if the model implements it."""

    def __call__(
        self,
        model: Solved,
        train: Interactions,
        population: Population,
        validate: Validate | None = None,
        on_epoch: OnEpoch | None = None,
        epochs: Sequence[int] | None = None,
        saved: SavedSlots | None = None,
        n_slots: int = 1,
    ) -> Fit:
        """Solve for every member, sequentially on each device, because one member's matrices fill it."""
        with backend.locally():
            return self._solved(model, train, population)

    def _solved(self, model: Solved, train: Interactions, population: Population) -> Fit:
        started = time.perf_counter()
        solved = None
        if jax.default_backend() == "cpu":
            model.needs_memory(population.size)
            numbers = [jax.tree.map(lambda x: x.item(), population.hyper_of(m)) for m in range(population.size)]
            members = [with_hyper(model, hyper) for hyper in numbers]
            solved = model.solve_on_host(train, members)
        n_devices = min(backend.device_count(), population.size) if solved is None else 1
        placement = Placement(population.size, n_devices, sequential=True)
        params = _on_device(model, train, population, placement) if solved is None else {"params": solved}
        seconds = time.perf_counter() - started
        history: list[list[dict[str, float]]] = [[] for _ in range(population.size)]
        diverged = [False] * population.size
        return Fit(params, history, [0] * population.size, str(placement), diverged, train_s=seconds)


def _on_device(model: Solved, train: Interactions, population: Population, placement: Placement) -> PyTree:
    prepared = placement.share(model.prepare(train))
    program = programs.jit(placement.map(partial(_solve, zeroed(model, population.hyper.of("model")))))
    # Every device solves for the same number of members; repetitions of the last one are cut off.
    index = np.minimum(np.arange(placement.n_slots), population.size - 1)
    hyper = placement.deal(jax.tree.map(lambda x: x[index], population.hyper))
    params = jax.block_until_ready(program(prepared, hyper))
    return jax.tree.map(lambda x: x[: population.size], params) if len(index) > population.size else params


def _solve(model: Solved, prepared: PyTree, hyper: Hyper) -> Params:
    """Parameters of one member."""
    return {"params": with_hyper(model, hyper).solve(prepared)}
