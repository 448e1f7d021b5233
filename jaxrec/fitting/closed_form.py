"""Fits that solve instead of descending: statistics of the data once, a solution a member."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax

from jaxrec.data.interactions import Interactions
from jaxrec.fitting.epochs import Fit
from jaxrec.fitting.population import Placement, Population, place
from jaxrec.hyper import Hyper, with_hyper


@dataclass(frozen=True)
class ClosedForm:
    """Fits a model that has `statistics(train)` (on the host) and `solve(statistics)` (on the device).

    On a CPU a model may do all of it in less memory, with `solve_on_host(train, hyper)` for all members.
    """

    def __call__(
        self,
        model: nn.Module,
        train: Interactions,
        population: Population,
        validate: Callable[..., Any] | None = None,
        on_epoch: Callable[..., None] | None = None,
        epochs: Sequence[int] | None = None,
    ) -> Fit:
        """Solves for every member, in turn within a device: one solution's matrices fill it."""
        on_host = jax.default_backend() == "cpu" and hasattr(model, "solve_on_host")
        placement = Placement(population.size, 1, True) if on_host else place(population.size, 1, "in_turn")
        started = time.perf_counter()
        if on_host:
            model.needs_memory(population.size)
            params = {"params": model.solve_on_host(train, population.hyper)}
        else:
            params = _on_device(model, train, population, placement)
        seconds = time.perf_counter() - started
        history: list[list[dict[str, float]]] = [[] for _ in range(population.size)]
        nobody = [False] * population.size
        return Fit(params, history, [0] * population.size, str(placement), nobody, train_s=seconds)


def _on_device(model: Any, train: Interactions, population: Population, placement: Placement) -> Any:
    statistics = placement.share(model.statistics(train))

    def solve(statistics: Any, hyper: Hyper) -> Any:
        return {"params": with_hyper(model, hyper).solve(statistics)}

    params = jax.jit(placement.map(solve))(statistics, placement.deal(population.hyper))
    return placement.cut(jax.block_until_ready(params))
