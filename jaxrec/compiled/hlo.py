"""Reader of compiled HLO text: computations, their instructions, and the arrays that these read and write.

Only what counting needs is read: shapes, operands, called computations, and trip counts of loops.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

_COMPUTATION = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\{$")
_INSTRUCTION = re.compile(r"^\s+(ROOT )?%?([\w.\-]+) = (.*?) ([a-z][\w\-]*)\((.*)$")
_ARRAY = re.compile(r"\b(pred|token|[a-z]+\d+\w*)\[([\d,]*)\](?:\{[^}]*\})?")
_SPACE = re.compile(r"S\((\d+)\)\}")
_CALLED = re.compile(
    r"\b(calls|to_apply|body|condition|branch_computations|true_computation|false_computation|called_computations)="
    r"(\{[^}]*\}|%?[\w.\-]+)"
)
_NAME = re.compile(r"%([\w.\-]+)")
_TRIPS = re.compile(r'"?known_trip_count"?[:=]\{"?n"?[:=]"?(\d+)')
_BITS = re.compile(r"[a-z]+(\d+)")


class ArrayShape(NamedTuple):
    """Type and dimensions of an array; `space` 0 is the device's main memory, others are on the chip or the host."""

    dtype: str
    dims: tuple[int, ...]
    space: int = 0

    @property
    def elements(self) -> int:
        """Number of elements."""
        return math.prod(self.dims)

    @property
    def bytes(self) -> int:
        """Size in bytes."""
        bits = _BITS.match(self.dtype)
        return self.elements * max(1, int(bits[1]) // 8) if bits else self.elements if self.dtype == "pred" else 0


@dataclass(frozen=True)
class Instruction:
    """One instruction.

    Attributes:
        name: name within its computation
        op: e.g. fusion, while, dot
        shapes: shape of the result; several for a tuple
        operands: names of its operands; the literal of a constant
        called: computations it calls, by attribute (calls, body, condition, branch_computations, …)
        attributes: the text after the operands
        is_root: whether it is the result of its computation
    """

    name: str
    op: str
    shapes: tuple[ArrayShape, ...]
    operands: tuple[str, ...]
    called: Mapping[str, tuple[str, ...]]
    attributes: str
    is_root: bool

    @property
    def bytes(self) -> int:
        """Size of the result in main memory."""
        return sum(shape.bytes for shape in self.shapes if shape.space == 0)

    @property
    def elements(self) -> int:
        """Number of elements of the result."""
        return sum(shape.elements for shape in self.shapes)

    def integers(self, attribute: str) -> tuple[int, ...]:
        """Integers of an attribute such as `lhs_contracting_dims={1}`; also of one in a JSON configuration."""
        found = re.search(rf'{attribute}"?[=:][\[{{]([^\]}}]*)[\]}}]', self.attributes)
        return tuple(int(number) for number in re.findall(r"\d+", found[1])) if found else ()


@dataclass(frozen=True)
class Computation:
    """Instructions of a computation, by name and in order."""

    name: str
    instructions: Mapping[str, Instruction]

    @cached_property
    def root(self) -> Instruction:
        """The instruction that is the result."""
        return next(x for x in self.instructions.values() if x.is_root)

    @cached_property
    def parameters(self) -> list[Instruction]:
        """Parameters in order of their numbers."""
        found = [x for x in self.instructions.values() if x.op == "parameter"]
        return sorted(found, key=lambda x: int(x.operands[0]))

    @cached_property
    def users(self) -> Mapping[str, list[Instruction]]:
        """Instructions that read each value."""
        users: dict[str, list[Instruction]] = {name: [] for name in self.instructions}
        for instruction in self.instructions.values():
            for operand in dict.fromkeys(instruction.operands):
                if operand in users:
                    users[operand].append(instruction)
        return users


@dataclass(frozen=True)
class Program:
    """All computations of a compiled module."""

    entry: Computation
    computations: Mapping[str, Computation]

    def called(self, instruction: Instruction, *attributes: str) -> list[Computation]:
        """Computations that an instruction calls by any of these attributes; by any at all if none is given."""
        groups = [names for key, names in instruction.called.items() if not attributes or key in attributes]
        return [self.computations[name] for names in groups for name in names]

    def trips(self, loop: Instruction) -> int | None:
        """Number of iterations of a `while`; None if it depends on data.

        Without a count by the compiler, a loop counts if its condition compares a value with a constant by `<`: loops
        of `jax.lax.scan` and `fori_loop` start at 0 and count by 1.
        """
        if known := _TRIPS.search(loop.attributes):
            return int(known[1])
        (condition,) = self.called(loop, "condition")
        test, limits = condition.root, condition.instructions
        operands = [limits[name] for name in test.operands]
        if test.op == "fusion":
            (test,) = [self.called(test)[0].root]
        if test.op != "compare" or "direction=LT" not in test.attributes or len(operands) != 2:
            return None
        limit = operands[1]
        return int(limit.operands[0]) if limit.op == "constant" else None


def parse(text: str) -> Program:
    """Read the text of a compiled module (`compiled.as_text()`)."""
    computations: dict[str, Computation] = {}
    entry = name = ""
    instructions: dict[str, Instruction] = {}
    for line in text.splitlines():
        if start := _COMPUTATION.match(line):
            name, instructions = start[2], {}
            entry = name if start[1] else entry
        elif line.startswith("}"):
            computations[name] = Computation(name, instructions)
        elif found := _INSTRUCTION.match(line):
            instructions[found[2]] = _instruction(found)
    return Program(computations[entry], computations)


def _instruction(found: re.Match[str]) -> Instruction:
    root, name, shapes, op, rest = found.groups()
    inside, attributes = _operands(rest)
    operands = (inside,) if op in ("constant", "parameter") else tuple(_NAME.findall(inside))
    called = {key: tuple(re.findall(r"[\w.\-]+", names)) for key, names in _CALLED.findall(attributes)}
    return Instruction(name, op, shapes_of(shapes), operands, called, attributes, bool(root))


def _operands(text: str) -> tuple[str, str]:
    """Split text after an opening parenthesis at the one that closes it."""
    depth = 1
    for at, character in enumerate(text):
        depth += {"(": 1, ")": -1}.get(character, 0)
        if depth == 0:
            return text[:at], text[at + 1 :]
    return text, ""


def shapes_of(text: str) -> tuple[ArrayShape, ...]:
    """Shapes of an array, or of all arrays in a tuple."""
    arrays = []
    for found in _ARRAY.finditer(text):
        space = _SPACE.search(found[0])
        dims = tuple(int(size) for size in found[2].split(",") if size)
        arrays.append(ArrayShape(found[1], dims, int(space[1]) if space else 0))
    return tuple(arrays)
