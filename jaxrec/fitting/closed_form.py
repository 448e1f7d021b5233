"""Closed-form fits: statistics of the data are computed once, and solved for each member."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import jax
import numpy as np
from jaxtyping import PyTree

from jaxrec import backend, memory, programs
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
        """Solve for every member, sequentially on each device, because one member's matrices fill it.

        The parameters of a member are the same to the bit in any population.
        """
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
        devices = backend.devices()[: population.size if solved is None else 1]
        params = _on_devices(model, train, population, devices) if solved is None else {"params": solved}
        seconds = time.perf_counter() - started
        history: list[list[dict[str, float]]] = [[] for _ in range(population.size)]
        diverged = [False] * population.size
        placement = Placement(population.size, len(devices), sequential=True)
        return Fit(params, history, [0] * population.size, str(placement), diverged, train_s=seconds)


def _on_devices(model: Solved, train: Interactions, population: Population, devices: Sequence[jax.Device]) -> PyTree:
    """Parameters of all members on the host, where memory is less scarce than on one device.

    A program of several members would round differently for each number of them, so every device runs that of one.
    """
    program = programs.jit(partial(_solve, zeroed(model, population.hyper.of("model"))))
    on_host = jax.tree.map(np.asarray, model.prepare(train))
    shapes = jax.eval_shape(program, on_host, population.hyper_of(0))
    params = jax.tree.map(lambda x: memory.empty((population.size, *x.shape), x.dtype), shapes)
    prepared = [jax.device_put(on_host, device) for device in devices]
    for first in range(0, population.size, len(devices)):
        members = range(first, min(first + len(devices), population.size))
        solved = [program(prepared[member - first], population.hyper_of(member)) for member in members]  # all at once
        for member, own in zip(members, solved, strict=True):
            jax.tree.map(lambda whole, x: np.copyto(whole[member, ...], x), params, own)  # noqa: B023
    return params


def _solve(model: Solved, prepared: PyTree, hyper: Hyper) -> Params:
    """Parameters of one member."""
    return {"params": with_hyper(model, hyper).solve(prepared)}
