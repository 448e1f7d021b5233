"""Number of members that a device trains at once: as many as fit into its memory, and still gain."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import PyTree

from jaxrec import backend, programs
from jaxrec.compiled.counting import count
from jaxrec.compiled.hlo import parse
from jaxrec.compiled.prediction import predict
from jaxrec.compiled.targets import rates_of
from jaxrec.fitting.member_program import MemberProgram
from jaxrec.fitting.population import MAX_SLOTS, Placement, member_keys
from jaxrec.hyper import Hyper

ON_CPU = 8  # members of a search; more gain nothing, because those of a core take turns
GAIN = 1.1  # twice as many members must train at least this much faster, each
SPARE = 0.9  # share of the memory that is planned with


class Need(NamedTuple):
    """Needs of an epoch of `n` members on each device: bytes, seconds, and the seconds that more members share."""

    n: int
    bytes: float
    seconds: float
    shared: float


def epoch_of(program: MemberProgram, placement: Placement, hyper: Hyper) -> tuple[Any, tuple[PyTree, ...]]:
    """The jitted epoch of all slots and its arguments, in which all states are zero.

    Args:
        program: how a member is trained.
        placement: distribution of the slots.
        hyper: hyperparameters of one member.
    """
    n = placement.n_slots
    numbers = jax.tree.map(lambda x: np.repeat(np.asarray(x)[None], n, axis=0), hyper)
    start = programs.jit(placement.map(program.start))
    shapes = start.eval_shape(program.shared, member_keys(np.zeros(n, np.int64)), numbers)
    states = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), shapes)
    arguments = program.shared, *(placement.put(x) for x in (states, numbers, np.ones(n, bool)))
    return programs.jit(placement.map(program.epoch), donate_argnums=1), arguments


def needed_bytes(compiled: Any) -> int:
    """Memory of a compiled program on each device: arguments, results that reuse none of them, temporaries."""
    use = compiled.memory_analysis()
    return use.argument_size_in_bytes + use.temp_size_in_bytes + use.output_size_in_bytes - use.alias_size_in_bytes


def largest_population(
    program: Callable[[int], tuple[MemberProgram, Placement]], hyper: Hyper, most: int = MAX_SLOTS
) -> int:
    """Largest power of two of members that fits and still gains, from programs of few and of more members.

    Args:
        program: program and placement for a number of members, e.g. of `GradientFit.program`.
        hyper: hyperparameters of one member.
        most: largest number.
    """
    if backend.platform() == "cpu":
        return power_of_two(min(ON_CPU, most))
    n_devices = min(backend.device_count(), most)
    needs = [_need(n, *program(n), hyper) for n in sorted({n_devices, min(8 * n_devices, most, MAX_SLOTS)})]
    return choose(needs[0], needs[-1], SPARE * backend.memory(), most)


def _need(n: int, program: MemberProgram, placement: Placement, hyper: Hyper) -> Need:
    epoch, arguments = epoch_of(program, placement, hyper)
    compiled = epoch.lower(*arguments).compile()
    time = predict(count(parse(compiled.as_text())), rates_of(backend.devices()[0]))
    return Need(n, needed_bytes(compiled), time.seconds, time.launches)


def choose(few: Need, many: Need, available: float, most: int = MAX_SLOTS) -> int:
    """Largest power of two of members; memory and work grow with their number, launches do not."""
    size = power_of_two(few.n)
    each = (many.bytes - few.bytes) / max(1, many.n - few.n)
    work = (many.seconds - many.shared) / many.n
    while 2 * size <= most:
        fits = few.bytes + each * (2 * size - few.n) <= available
        gains = (many.shared / size + work) / (many.shared / (2 * size) + work) >= GAIN
        if not (fits and gains):
            break
        size *= 2
    return size


def power_of_two(n: int) -> int:
    """Largest power of two up to `n`."""
    return 1 << (n.bit_length() - 1)
