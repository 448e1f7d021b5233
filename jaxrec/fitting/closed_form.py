"""Fits that solve instead of descending: statistics of the data once, a solution a member."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax

from jaxrec.data.interactions import Interactions
from jaxrec.fitting.epochs import Fit
from jaxrec.fitting.population import Population, place
from jaxrec.hyper import Hyper, with_hyper


@dataclass(frozen=True)
class ClosedForm:
    """Fits a model that has `statistics(train)` (on the host) and `solve(statistics)` (on the device)."""

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
        placement = place(population.size, 1, "in_turn")
        if jax.default_backend() == "cpu" and hasattr(model, "needs_memory"):
            model.needs_memory(population.size, placement.n_devices)
        started = time.perf_counter()
        statistics = placement.share(model.statistics(train))

        def solve(statistics: Any, hyper: Hyper) -> Any:
            return {"params": with_hyper(model, hyper).solve(statistics)}

        params = jax.block_until_ready(jax.jit(placement.map(solve))(statistics, placement.deal(population.hyper)))
        seconds = time.perf_counter() - started
        history: list[list[dict[str, float]]] = [[] for _ in range(population.size)]
        nobody = [False] * population.size
        return Fit(placement.cut(params), history, [0] * population.size, str(placement), nobody, train_s=seconds)
