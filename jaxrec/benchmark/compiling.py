"""Compilation of a run's programs for devices that may be absent, and what the compiled programs will cost."""

import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from jaxrec import backend, experiment
from jaxrec.benchmark.comparison import Row
from jaxrec.compiled.counting import Counts, count
from jaxrec.compiled.hlo import parse
from jaxrec.compiled.prediction import measured_rates, predict
from jaxrec.compiled.targets import TARGETS, Rates, Target, absent_devices, only_cpu
from jaxrec.data.splits.split import Selection
from jaxrec.errors import InputError, first_line
from jaxrec.evaluation.candidates import CandidateEvaluator
from jaxrec.evaluation.full_catalog import CatalogEvaluator
from jaxrec.fitting.capacity import epoch_of, needed_bytes
from jaxrec.fitting.epochs import EpochLoop
from jaxrec.mesh import rows_over
from jaxrec.programs import clear
from jaxrec.ranking import QueryRows, Ranker
from jaxrec.settings import Tree, get, populations

MEBI = 2**20


class Compiled(NamedTuple):
    """A compiled program.

    Attributes:
        program: the executable
        arguments: its arguments, or their shapes
        seconds, cpu_seconds: time to compile, and processor time of all its threads
    """

    program: Any
    arguments: tuple[PyTree, ...]
    seconds: float
    cpu_seconds: float


def rows(tree: Tree, target: str, topology: str, members: Sequence[int], repeats: int) -> list[Row]:
    """Compile the epoch, validation and ranking programs of a model, and count what they do.

    Args:
        tree: settings of a run.
        target: h100, h200, v5e, v5p, v6e, or cpu for the devices of this process, where programs are also timed.
        topology: number or grid of devices.
        members: population sizes.
        repeats: timed calls on a present device.

    Returns:
        One row per program and size: compile time, memory, kernels, branches, collectives, predicted time.
    """
    only_cpu()
    jax.config.update("jax_enable_compilation_cache", False)
    if target != "cpu":
        return rows_for(tree, absent_devices(target, topology), TARGETS[target], members)
    split, _ = experiment.prepare(tree)
    return _rows(tree, split.selection, members, measured_rates(), None, repeats)


def rows_for(tree: Tree, devices: Sequence[Any], target: Target, members: Sequence[int]) -> list[Row]:
    """Rows of programs compiled for absent devices."""
    split, _ = experiment.prepare(tree)
    with backend.built_for(devices):
        found = _rows(tree, split.selection, members, target.rates, target.memory, 0)
    return _with_largest(found, target.memory)


def _rows(
    tree: Tree, selection: Selection, members: Sequence[int], rates: Rates, memory: float | None, repeats: int
) -> list[Row]:
    return [
        _row(name, n, compiled, rates, memory, repeats)
        for n in members
        for name, compiled in programs(tree, selection, n)
    ]


def programs(tree: Tree, selection: Selection, n_members: int) -> Iterator[tuple[str, "Compiled | str"]]:
    """The programs of a run with this many members, compiled, or the first line of the compiler's error."""
    clear()  # programs of other sizes may be the same, and would not be compiled again
    _, shared, population = next(populations([tree]))
    model, evaluator = experiment.model_and_evaluator(shared, selection)
    trainer, train = experiment.trainer(shared), selection.train
    if not isinstance(trainer, EpochLoop):
        raise InputError(f"case=compile needs a model that is trained in epochs, not trainer={type(trainer).__name__}")
    program, placement = trainer.program(model, train, population.hyper, n_members)
    epoch, arguments = epoch_of(program, placement, population.hyper_of(0))
    yield "epoch", _compiled(epoch, arguments)
    _, states, hyper, active = arguments
    queries = QueryRows.for_users(np.arange(train.n_users), train.histories, train.encoded)
    with rows_over(get(shared, "trainer.mesh.row", 1)):
        validation = evaluator.ranker if isinstance(evaluator, CatalogEvaluator) else evaluator
        rankers = {"validation": validation, "ranking": Ranker(model, queries, 10)}
    for name, ranker in rankers.items():
        if isinstance(ranker, Ranker | CandidateEvaluator):
            arguments = (states.params, None) if isinstance(ranker, Ranker) else states.params
            ranking, put = ranker.blockwise.compile(placement.n_slots, hyper)
            yield name, _compiled(ranking, put(arguments, hyper, active))


def _compiled(jitted: Any, arguments: tuple[PyTree, ...]) -> Compiled | str:
    lowered = jitted.lower(*arguments)
    started, processor = time.perf_counter(), time.process_time()
    try:
        compiled = lowered.compile()
    except jax.errors.JaxRuntimeError as error:
        return first_line(error)
    return Compiled(compiled, arguments, time.perf_counter() - started, time.process_time() - processor)


def _row(name: str, n: int, compiled: Compiled | str, rates: Rates, memory: float | None, repeats: int) -> Row:
    row: Row = {"name": f"{name}, {n} member{'s' if n > 1 else ''}", "program": name, "members": n}
    if isinstance(compiled, str):
        return row | {"error": compiled}
    use, counts = compiled.program.memory_analysis(), count(parse(compiled.program.as_text()))
    needed = needed_bytes(compiled.program)
    row |= {
        "compile_s": round(compiled.seconds, 1),
        "compile_cpu_s": round(compiled.cpu_seconds, 1),
        "arguments_mib": round(use.argument_size_in_bytes / MEBI, 1),
        "temporary_mib": round(use.temp_size_in_bytes / MEBI, 1),
        "needed_mib": round(needed / MEBI, 1),
    }
    if memory is not None:
        row |= {"fits": needed <= memory}
    row |= figures(counts, rates)
    if repeats:
        seconds = _measured(compiled, repeats)
        row |= {"measured_s": _digits(min(seconds)), "processor_seconds": seconds}
        row |= {"predicted_to_measured": round(row["predicted_s"] / min(seconds), 2)}
    return row


def figures(counts: Counts, rates: Rates) -> Row:
    """Counts of a program and its predicted time."""
    time_ = predict(counts, rates)
    return {
        "kernels": counts.n_kernels,
        "branches": counts.branches,
        "loops": counts.loops,
        "transfers": counts.transfers,
        "sorts": counts.sorts,
        "collectives": sum(counts.collectives.values()),
        "exchanges": ", ".join(
            f"{counts.collectives[op]} {op} {bytes_ / MEBI:.4g} MiB" for op, bytes_ in counts.exchanges.items()
        ),
        "largest_mib": _digits(max((kernel.communicated for kernel in counts.kernels), default=0.0) / MEBI),
        "communicated_mib": round(counts.total("communicated") / MEBI, 1),
        "gflop": _digits(counts.flops / 1e9),
        "gb": _digits(counts.total("bytes") / 1e9),
        "arithmetic_s": _digits(time_.arithmetic),
        "memory_s": _digits(time_.memory),
        "launches_s": _digits(time_.launches),
        "predicted_s": _digits(time_.seconds),
        "bound": time_.bound,
    }


def _measured(compiled: Compiled, repeats: int) -> list[float]:
    """Processor seconds of each call per device; donated arguments are copied before."""
    n_devices = len(jax.tree.leaves(compiled.arguments)[0].sharding.device_set)
    seconds = []
    for _ in range(repeats + 1):
        arguments = jax.block_until_ready(jax.tree.map(jnp.copy, compiled.arguments))
        started = time.process_time()
        jax.block_until_ready(compiled.program(*arguments))
        seconds.append((time.process_time() - started) / n_devices)
    return seconds[1:]


def _with_largest(found: list[Row], memory: float) -> list[Row]:
    """Add the largest number of members that fits, by the line through the memory of the two largest populations."""
    for row in found:
        same = [other for other in found if other["program"] == row["program"] and "needed_mib" in other]
        if len(same) < 2 or "error" in row:
            continue
        few, many = sorted(same, key=lambda other: other["members"])[-2:]
        slope = (many["needed_mib"] - few["needed_mib"]) / (many["members"] - few["members"])
        fixed = many["needed_mib"] - slope * many["members"]
        row["largest"] = int((memory / MEBI - fixed) / slope) if slope > 0 else None
    return found


def _digits(value: float) -> float:
    return float(f"{value:.3g}")
