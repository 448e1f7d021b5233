"""Predicted time of a compiled program, from its counts and the rates of a device; see docs/howto/compile.md."""

import time
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxrec.compiled.counting import ASYNCHRONOUS, Counts, Kernel, count
from jaxrec.compiled.hlo import parse
from jaxrec.compiled.targets import Rates


class Prediction(NamedTuple):
    """Seconds of one call, and their parts.

    Attributes:
        seconds: predicted time
        arithmetic, memory, launches, communication: time of each alone, if the others took none
    """

    seconds: float
    arithmetic: float
    memory: float
    launches: float
    communication: float

    @property
    def bound(self) -> str:
        """The largest part."""
        return max(self._fields[1:], key=lambda part: getattr(self, part))


def predict(counts: Counts, rates: Rates) -> Prediction:
    """Predict the time of a program: of each kernel its launch, and the larger of arithmetic and memory time."""
    seconds = arithmetic = memory = launches = communication = 0.0
    for kernel in counts.kernels:
        launch = 0.0 if kernel.op in ASYNCHRONOUS else rates.launch
        work, traffic, sent = _arithmetic(kernel, rates), kernel.bytes / rates.bytes, 0.0
        if kernel.communicated:
            sent = kernel.communicated / rates.communicated
        seconds += kernel.times * (launch + max(work, traffic) + sent)
        arithmetic += kernel.times * work
        memory += kernel.times * traffic
        launches += kernel.times * launch
        communication += kernel.times * sent
    return Prediction(seconds, arithmetic, memory, launches, communication)


def _arithmetic(kernel: Kernel, rates: Rates) -> float:
    elementwise = kernel.elementwise / rates.elementwise + kernel.transcendental / rates.transcendental
    return kernel.products / rates.products + elementwise + kernel.scattered / rates.scattered


def measured_rates() -> Rates:
    """Rates of a CPU core, each from a program that does little else, by processor time: other work does not count."""
    side, n = 1024, 1 << 20
    square, vector = jnp.ones((side, side)), jnp.linspace(0.1, 1.0, n)
    table, ids = jnp.zeros((4096, 128)), (jnp.arange(8192, dtype=jnp.int32) * 2654435) % 4096
    values = jnp.ones((8192, 128))

    def chain(x: jax.Array) -> jax.Array:
        for step in range(64):
            x = x * 0.5 + step
        return x

    def curves(x: jax.Array) -> jax.Array:
        for _ in range(8):
            x = jnp.exp(-x)
        return x

    def scalars(x: jax.Array) -> jax.Array:
        # Each step is a kernel of its own: a reduction ends a fusion.
        return jax.lax.fori_loop(0, 2000, lambda i, x: x * jnp.sum(x), x)

    bytes_ = _rate(lambda x: x + 1.0, (jnp.ones(1 << 22),), "bytes")
    small, scan = _timed(scalars, (jnp.ones(8) / 8,))
    return Rates(
        products=_rate(jnp.matmul, (square, square), "products"),
        elementwise=_rate(chain, (vector,), "elementwise"),
        transcendental=_rate(curves, (vector,), "transcendental"),
        scattered=_rate(lambda t, i, v: t.at[i].add(v), (table, ids, values), "scattered"),
        bytes=bytes_,
        communicated=bytes_,
        launch=small / scan.n_kernels,
    )


def _rate(f: Callable[..., jax.Array], arguments: tuple[jax.Array, ...], what: str) -> float:
    seconds, counts = _timed(f, arguments)
    return counts.total(what) / seconds


def _timed(f: Callable[..., jax.Array], arguments: tuple[jax.Array, ...]) -> tuple[float, Counts]:
    """Shortest of several processor times of a program, and its counts."""
    compiled = jax.jit(f).lower(*arguments).compile()
    jax.block_until_ready(compiled(*arguments))
    best = float("inf")
    for _ in range(15):
        started = time.process_time()
        jax.block_until_ready(compiled(*arguments))
        best = min(best, time.process_time() - started)
    return best, count(parse(compiled.as_text() or ""))
