"""Pseudorandom permutation of 0 .. n - 1, computed on demand instead of sorted and stored.

Sorting a million random keys takes most of a second on a CPU; this takes microseconds per batch.
[Black and Rogaway 2002, Ciphers with arbitrary finite domains: a generalized Feistel network with cycle walking]
"""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, UInt32

from jaxrec import backend
from jaxrec.random import RandomStream, bits, finalize

ROUNDS = 6


def shuffled(source: RandomStream, n: int, index: Int[Array, "B"]) -> Int[Array, "B"]:
    """Image of the positions `index` (all below `n`) under the permutation defined by the stream.

    A position is a pair (left, right) in a grid slightly larger than n. Each Feistel round adds a hash of one half to
    the other, which is invertible, so the rounds are a bijection of the grid. Values outside 0 .. n - 1 are mapped
    again until they are inside (cycle walking), which gives a bijection of the range.
    """
    height, width = _grid(n)
    keys = [bits(source, jnp.uint32(i)) for i in range(ROUNDS)]

    def once(position: Array) -> Array:
        left, right = position // width, position % width
        for i, key in enumerate(keys):
            # 24 bits, so that adding them to a half cannot overflow.
            if i % 2:
                right = (right + (finalize(left ^ key) >> 8)) % width
            else:
                left = (left + (finalize(right ^ key) >> 8)) % height
        return left * width + right

    position = once(index.astype(jnp.uint32))
    if backend.choices().branches:
        position = jax.lax.while_loop(
            lambda position: jnp.any(position >= n),
            lambda position: jnp.where(position >= n, once(position), position),
            position,
        )
    elif excess := height * width - n:
        # The walks from all cells outside, by doubling; then one step for every position.
        cells = n + jnp.arange(excess, dtype=jnp.uint32)
        ends = once(cells)
        for _ in range(excess.bit_length()):
            ends = jnp.where(ends >= n, _looked_up(ends, cells, ends), ends)
        position = jnp.where(position >= n, _looked_up(position, cells, ends), position)
    return position.astype(index.dtype)


def _looked_up(at: UInt32[Array, "B"], cells: UInt32[Array, "C"], values: UInt32[Array, "C"]) -> UInt32[Array, "B"]:
    """Value of the cell at each position; 0 for positions that are no cell."""
    return jnp.sum(jnp.where(at[:, None] == cells[None, :], values[None, :], jnp.uint32(0)), axis=1, dtype=jnp.uint32)


def _grid(n: int) -> tuple[int, int]:
    """Height and width, each near the square root of n, of the grid with the fewest excess cells."""
    root = max(1, math.isqrt(n))
    spread = min(root // 4, 500)  # a flat grid would only rotate the range
    heights = range(root - spread, root + spread + 1)
    return min(((height, -(-n // height)) for height in heights), key=lambda grid: grid[0] * grid[1])
