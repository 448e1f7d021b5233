"""Counts of what a compiled program does in one call: kernels, arithmetic, memory traffic, communication, waits."""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from jaxrec.compiled.hlo import Computation, Instruction, Program

# Instructions that no kernel runs for.
FREE = {
    "parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all", "partition-id", "replica-id",
    "opt-barrier", "domain", "add-dependency", "get-dimension-size",
}  # fmt: skip
MOVES = {
    "broadcast", "reshape", "transpose", "copy", "slice", "dynamic-slice", "dynamic-update-slice", "concatenate",
    "gather", "scatter", "pad", "reverse", "iota", "bitcast-convert", "convert", "copy-start",
}  # fmt: skip
TRANSCENDENTAL = {
    "exponential", "exponential-minus-one", "log", "log-plus-one", "tanh", "logistic", "rsqrt", "sqrt", "power", "erf",
    "sine", "cosine", "divide", "remainder", "cbrt", "atan2", "tan",
}  # fmt: skip
COLLECTIVES = {
    "all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute", "ragged-all-to-all",
    "collective-broadcast",
}  # fmt: skip
ASYNCHRONOUS = {"copy-start", "slice-start", "dynamic-slice-start"}
HOST = {"infeed", "outfeed", "send", "recv"}
FREE_CALLS = ("AllocateBuffer", "ConcatBitcast", "GatherScatterIndices", "AssumeGatherIndices", "Sharding", "SPMD")


class Work(NamedTuple):
    """Arithmetic of an instruction.

    Attributes:
        products: FLOPs of matrix products
        elementwise: elementwise operations and additions of reductions
        transcendental: exponentials, divisions, roots and the like
        scattered: elements that are scattered
    """

    products: float = 0.0
    elementwise: float = 0.0
    transcendental: float = 0.0
    scattered: float = 0.0


class Kernel(NamedTuple):
    """Work of one kernel in one run.

    Attributes:
        name, op: instruction and its kind
        products, elementwise, transcendental, scattered: see `Work`
        bytes: bytes read from and written to main memory
        communicated: bytes of the results of a collective
        times: number of runs
    """

    name: str
    op: str
    products: float
    elementwise: float
    transcendental: float
    scattered: float
    bytes: float
    communicated: float
    times: int


@dataclass
class Counts:
    """Counts of one call of a program; loops are multiplied by their trip counts.

    Attributes:
        kernels: every kernel with the number of its runs
        branches: branches taken inside loops (of several branches, the one with the most bytes is counted)
        loops: loops inside loops whose number of iterations depends on data; their bodies are counted once
        transfers: transfers between host and device inside loops
        sorts: sorts
        collectives: number of each collective
    """

    kernels: list[Kernel] = field(default_factory=list)
    branches: int = 0
    loops: int = 0
    transfers: int = 0
    sorts: int = 0
    collectives: dict[str, int] = field(default_factory=dict)

    @property
    def n_kernels(self) -> int:
        """Number of kernels that run; asynchronous copies are none."""
        return sum(kernel.times for kernel in self.kernels if kernel.op not in ASYNCHRONOUS)

    def total(self, what: str) -> float:
        """Sum of a field of `Kernel` over all runs."""
        return sum(getattr(kernel, what) * kernel.times for kernel in self.kernels)

    @property
    def exchanges(self) -> dict[str, float]:
        """Bytes of each kind of collective."""
        found: dict[str, float] = {}
        for kernel in self.kernels:
            if (op := kernel.op.removesuffix("-start")) in COLLECTIVES:
                found[op] = found.get(op, 0.0) + kernel.communicated * kernel.times
        return found

    @property
    def flops(self) -> float:
        """FLOPs and other elementwise operations."""
        return self.total("products") + self.total("elementwise") + self.total("transcendental")

    def add(self, other: "Counts") -> None:
        """Add the counts of another part of the program."""
        self.kernels += other.kernels
        self.branches += other.branches
        self.loops += other.loops
        self.transfers += other.transfers
        self.sorts += other.sorts
        for name, times in other.collectives.items():
            self.collectives[name] = self.collectives.get(name, 0) + times


def count(program: Program) -> Counts:
    """Count what a program does in one call."""
    return _count(program, program.entry, 1, in_loop=False)


def _count(program: Program, computation: Computation, times: int, in_loop: bool) -> Counts:
    counts = Counts()
    for x in computation.instructions.values():
        op = x.op.removesuffix("-start")
        if op in FREE or x.op.endswith(("-done", "-update")):
            continue
        if op == "while":
            trips = program.trips(x)
            parts = program.called(x, "body") if trips is not None else program.called(x)
            counts.loops += times if trips is None and in_loop else 0
            for part in parts:
                counts.add(_count(program, part, times * (1 if trips is None else trips), in_loop=True))
        elif op == "conditional":
            counts.branches += times if in_loop else 0
            branches = [_count(program, branch, times, in_loop) for branch in program.called(x)]
            counts.add(max(branches, key=lambda branch: (branch.total("bytes"), branch.n_kernels)))
        elif op in ("call", "async"):
            for part in program.called(x):
                counts.add(_count(program, part, times, in_loop))
        elif op == "custom-call" and any(free in x.attributes for free in FREE_CALLS):
            continue
        else:
            counts.sorts += times * _sorts(program, x)
            counts.transfers += times if in_loop and (op in HOST or _copies_to_host(x)) else 0
            if op in COLLECTIVES:
                counts.collectives[op] = counts.collectives.get(op, 0) + times
            counts.kernels.append(_kernel(program, computation, x, times))
    return counts


def _copies_to_host(x: Instruction) -> bool:
    """Whether an instruction moves an array into or out of host memory (memory space 5)."""
    return x.op in ("copy", "copy-start") and any(shape.space == 5 for shape in x.shapes)


def _sorts(program: Program, x: Instruction) -> int:
    if x.op == "sort" or (x.op == "custom-call" and re.search(r"TopK|RadixSort", x.attributes)):
        return 1
    return sum(_sorts(program, y) for part in _inside(program, x) for y in part.instructions.values())


def _inside(program: Program, x: Instruction) -> list[Computation]:
    """The computation of a fusion; none for others, whose computations are functions of two numbers."""
    return program.called(x, "calls") if x.op == "fusion" else []


def _kernel(program: Program, computation: Computation, x: Instruction, times: int) -> Kernel:
    work = Work(*map(sum, zip(Work(), *_work(program, computation, x), strict=True)))
    collective = x.op.removesuffix("-start") in COLLECTIVES
    traffic, sent = _traffic(program, computation, x), _sent(x) if collective else 0.0
    return Kernel(x.name, x.op, *work, traffic, sent, times)


def _sent(x: Instruction) -> float:
    """Size of the results of a collective; one that starts here and ends later lists its operands first."""
    lists_operands = x.op in ("all-gather-start", "collective-permute-start")
    return float(sum(shape.bytes for shape in (x.shapes[len(x.shapes) // 2 :] if lists_operands else x.shapes)))


def _work(program: Program, computation: Computation, x: Instruction) -> Iterator[Work]:
    """Arithmetic of an instruction; of a fusion, of each one inside."""
    if x.op == "fusion":
        for part in _inside(program, x):
            for y in part.instructions.values():
                yield from _work(program, part, y)
        return
    shapes = [computation.instructions[name].shapes[0] for name in x.operands if name in computation.instructions]
    n = float(x.shapes[0].elements) if x.shapes else 0.0
    if x.op == "dot" or (x.op == "custom-call" and "lhs_contracting_dim" in x.attributes):
        contracted = x.integers("lhs_contracting_dims") or x.integers("lhs_contracting_dimensions")
        yield Work(products=2 * n * math.prod(shapes[0].dims[axis] for axis in contracted))
    elif x.op == "convolution":
        yield Work(products=2 * n * _taps(x, shapes[1].dims))
    elif x.op == "scatter":
        yield Work(scattered=float(shapes[-1].elements))
    elif x.op in ("reduce", "reduce-window", "map"):
        yield Work(elementwise=float(shapes[0].elements))
    elif x.op == "sort":
        yield Work(elementwise=n * max(1, math.ceil(math.log2(max(2, x.shapes[0].dims[-1])))) ** 2)
    elif x.op in TRANSCENDENTAL:
        yield Work(transcendental=n)
    elif x.op not in FREE | MOVES | COLLECTIVES | HOST and x.op != "custom-call":
        yield Work(elementwise=n)


def _taps(x: Instruction, kernel: tuple[int, ...]) -> int:
    """Products per output of a convolution: its kernel without output features.

    TPUs write batched products as convolutions that are dilated along the batch, where one tap of the window counts.
    """
    labels = re.search(r"dim_labels=\w+_(\w+)->", x.attributes)
    assert labels is not None
    dilated = re.search(r"lhs_dilate=([\dx]+)", x.attributes)
    dilations = [int(size) for size in dilated[1].split("x")] if dilated else []
    taps = 1
    for label, size in zip(labels[1], kernel, strict=True):
        if label == "i" or (label.isdigit() and not (int(label) < len(dilations) and dilations[int(label)] > 1)):
            taps *= size
    return taps


def _traffic(program: Program, computation: Computation, x: Instruction) -> float:
    """Bytes of main memory that an instruction reads and writes."""
    read = 0.0
    for position, name in enumerate(x.operands):
        if (operand := computation.instructions.get(name)) is not None:
            read += _read_by(program, operand, x, position)
    if x.op in ASYNCHRONOUS:  # the result is a tuple of the copy, the source and a flag
        return min(read, _size(x)) + (x.shapes[0].bytes if x.shapes[0].space == 0 else 0)
    return read + _written(program, computation, x)


def _read_by(program: Program, value: Instruction, x: Instruction, position: int) -> float:
    """Bytes of a value that one instruction reads: rows only if it looks up rows, none if it updates in place."""
    if x.op in ("dynamic-slice", "slice", "gather") and position == 0:
        return min(value.bytes, _size(x))
    if x.op in ("dynamic-update-slice", "scatter") and position == 0:
        return 0.0
    if x.op == "fusion":
        part = program.called(x, "calls")[0]
        return min(value.bytes, _read_in(program, part, part.parameters[position], value.bytes))
    return value.bytes


def _read_in(program: Program, part: Computation, value: Instruction, size: float) -> float:
    """Bytes of a parameter that a fused computation reads; `size` is that of the whole."""
    if value.is_root:
        return size
    read = 0.0
    for user in part.users[value.name]:
        positions = [at for at, name in enumerate(user.operands) if name == value.name]
        if user.op in ("bitcast", "convert", "reshape", "copy"):
            read += _read_in(program, part, user, size)
        elif user.op == "tuple":
            read += size
        elif user.op in ("dynamic-slice", "slice", "gather") and positions[0] == 0:
            read += _size(user)
        elif user.op in ("dynamic-update-slice", "scatter") and positions[0] == 0:
            read += 0.0
        elif user.op == "fusion":
            inner = program.called(user, "calls")[0]
            read += sum(_read_in(program, inner, inner.parameters[at], size) for at in positions)
        else:
            read += size
    return min(read, size)


def _size(x: Instruction) -> float:
    return float(sum(shape.bytes for shape in x.shapes))


def _written(program: Program, computation: Computation, x: Instruction) -> float:
    """Bytes that an instruction writes; for an update in place, those of the update, which are also read before."""
    if x.op == "fusion":
        part = program.called(x, "calls")[0]
        outputs = [part.instructions[name] for name in part.root.operands] if part.root.op == "tuple" else [part.root]
        shapes = x.shapes if len(x.shapes) == len(outputs) else [output.shapes[0] for output in outputs]
        in_memory = [output for output, shape in zip(outputs, shapes, strict=True) if shape.space == 0]
        return sum(_output(program, part, output) for output in in_memory)
    return _output(program, computation, x) if x.bytes else 0.0


def _output(program: Program, part: Computation, x: Instruction) -> float:
    while x.op in ("bitcast", "convert", "reshape", "copy") and part.name != program.entry.name:
        inner = part.instructions[x.operands[0]]
        if inner.op == "parameter":
            break
        x = inner
    if x.op == "dynamic-update-slice":
        return 2 * _size(part.instructions[x.operands[1]])
    if x.op == "scatter":
        return 2 * _size(part.instructions[x.operands[-1]])
    return _written(program, part, x) if x.op == "fusion" else _size(x)
