"""Sparse EASE: each item is regressed on its k most similar items only, so that weights take items x k of memory.

Column j of B is the exact solution of EASE's problem with nonzero weights restricted to the neighborhood S of j:

    b_S = (G_SS + regularization I)^-1 G_Sj,  G = X'X

with S the k items of the largest cosine G_ij / sqrt(G_ii G_jj). This is a sparse approximate inverse with a fixed
pattern instead of SANSA's incomplete Cholesky factorization: no factorization of a sparse matrix, no fill-in, and
every item independently of all others. With k = items - 1 it is EASE.
[Steck 2019, Markov random fields for collaborative filtering, section 3.2 (the restriction); Grote and Huckle 1997,
Parallel preconditioning with sparse approximate inverses; Spisak et al. 2023, Scalable approximate nonsymmetric
autoencoder for collaborative filtering (SANSA)]
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from pydantic import PositiveFloat
from scipy import sparse
from scipy.linalg import lapack

from jaxrec.data.interactions import Interactions
from jaxrec.hyper import Traced
from jaxrec.memory import require
from jaxrec.models.fold_in import cholesky
from jaxrec.models.gram import binary
from jaxrec.models.item_neighbors import ItemNeighbors
from jaxrec.models.model import Model

BLOCK_FLOATS = 1 << 23  # floats of the matrices G_SS that are solved at a time
ROWS = 4096  # rows of G whose neighborhoods are selected at a time


class SparseGram(NamedTuple):
    """The sparse Gram matrix, sorted by row and column, and the neighborhood of each item.

    Attributes:
        start: first entry of each row, and the number of entries [I + 1]
        columns: column of each entry
        counts: value of each entry
        neighbors: the neighborhood of each item, nearest first, padded with -1
    """

    start: Int[np.ndarray | Array, "N"]
    columns: Int[np.ndarray | Array, "E"]
    counts: Float[np.ndarray | Array, "E"]
    neighbors: Int[np.ndarray | Array, "I K"]


class SparseEASE(ItemNeighbors):
    """EASE for large catalogs; reads histories, so it scores new users too.

    Attributes:
        history_length: length of the longest history, so that none is truncated
        k: size of an item's neighborhood; more is closer to EASE, time is proportional to its cube
        regularization: weight of |B|^2
        n_neighbors: neighbors in use; None: all

    Memory: 8 bytes per weight, items x k of them, and 24 bytes per pair of items with common users, of which there are
    at most as many as the sum of squared history lengths; checked before the fit. Time: items x k^3 / 3
    operations, and items x k rows of G are read (on other devices than the CPU, items x k^2 entries looked up).
    Fidelity: with k = items - 1 exactly EASE; else the best B with this pattern.
    """

    regularization: PositiveFloat | Traced = 250.0

    def prepare(self, train: Interactions) -> SparseGram:
        """The sparse Gram matrix and the neighborhoods."""
        x, k = binary(train), min(self.k, self.n_items - 1)
        self.check_memory(x)
        gram = (x.T @ x).tocsr()
        gram.sort_indices()
        neighbors = np.full((self.n_items, k), -1, np.int32)
        if k == self.n_items - 1:  # those without common users, too
            item = np.arange(self.n_items, dtype=np.int32)[:, None]
            neighbors = np.arange(k, dtype=np.int32)[None, :] + (np.arange(k)[None, :] >= item)
        length = np.sqrt(np.maximum(gram.diagonal(), 1))
        for start in range(0, self.n_items if k < self.n_items - 1 else 0, ROWS):
            rows = gram[start : start + ROWS]
            row = np.repeat(np.arange(rows.shape[0]), np.diff(rows.indptr))
            near = rows.data / length[rows.indices]
            others = rows.indices != row + start
            row, column, near = row[others], rows.indices[others], near[others]
            order = np.lexsort((-near, row))
            row, column = row[order], column[order]
            place = np.arange(len(row)) - np.searchsorted(row, row)
            neighbors[start + row[place < k], place[place < k]] = column[place < k]
        return SparseGram(gram.indptr.astype(np.int32), gram.indices.astype(np.int32), gram.data, neighbors)

    def solve(self, prepared: SparseGram) -> dict[str, Array]:
        """The weights of every item's neighborhood, one block of items at a time."""
        k = prepared.neighbors.shape[1]
        n_used = k if self.n_neighbors is None else self.n_neighbors
        kept = jnp.asarray(prepared.neighbors) >= 0
        kept = kept & (jnp.arange(k) < n_used)[None, :]
        near = jnp.where(kept, jnp.asarray(prepared.neighbors), 0)
        size = max(1, min(self.n_items, BLOCK_FLOATS // max(1, k * k)))
        items = jnp.arange(-(-self.n_items // size) * size).reshape(-1, size)

        def block(items: Int[Array, "B"]) -> Float[Array, "B K"]:
            items = jnp.minimum(items, self.n_items - 1)
            own, used = near[items], kept[items]
            both = used[:, :, None] & used[:, None, :]
            gram = jnp.where(both, _entries(prepared, own[:, :, None], own[:, None, :]), 0.0)
            right = jnp.where(used, _entries(prepared, items[:, None], own), 0.0)
            return cholesky(gram + self.regularization * jnp.eye(k)[None], right)

        weights = jax.lax.map(block, items).reshape(-1, k)[: self.n_items]
        stored = min(self.k, self.n_items) - k  # the parameters of ItemNeighbors have room for k neighbors
        pad = ((0, 0), (0, stored))
        return {"neighbors": jnp.pad(near, pad), "similarities": jnp.pad(weights, pad)}

    def solve_on_host(self, train: Interactions, members: Sequence[Model]) -> dict[str, np.ndarray]:
        """`solve` for every member; reads G_SS from the rows of G, which on a CPU is faster than look-ups."""
        prepared = self.prepare(train)
        entries = prepared.counts, prepared.columns, prepared.start
        gram = sparse.csr_matrix(entries, shape=(self.n_items, self.n_items))
        shape = len(members), self.n_items, min(self.k, self.n_items)
        neighbors, weights = np.zeros(shape, np.int32), np.zeros(shape, np.float32)
        place = np.full(self.n_items, -1, np.int32)  # of an item within the neighborhood
        for item, listed in enumerate(prepared.neighbors):
            listed = listed[listed >= 0]
            n = len(listed)
            place[listed] = np.arange(n)
            rows = gram[np.append(listed, item)]
            column = place[rows.indices]
            place[listed] = -1
            inside = np.flatnonzero(column >= 0)
            matrix = np.zeros((n + 1, n), np.float32)
            matrix[np.searchsorted(rows.indptr, inside, side="right") - 1, column[inside]] = rows.data[inside]
            for m, member in enumerate(members):
                assert isinstance(member, SparseEASE)
                used = n if member.n_neighbors is None else min(n, int(member.n_neighbors))
                penalized = matrix[:used, :used] + np.float32(member.regularization) * np.eye(used, dtype=np.float32)
                neighbors[m, item, :used] = listed[:used]
                # Without the threads of NumPy's solver, which take longer than a matrix of this size.
                weights[m, item, :used] = lapack.sposv(penalized.T, matrix[-1, :used])[1] if used else 0
        return {"neighbors": neighbors, "similarities": weights}

    def check_memory(self, x: sparse.csr_matrix) -> None:
        """Raise an InputError if the Gram matrix and the weights may not fit into memory."""
        pairs = min(int((np.diff(x.indptr).astype(np.int64) ** 2).sum()), self.n_items**2)
        require(
            24 * pairs + 24 * self.n_items * self.k + 8 * BLOCK_FLOATS * 4,
            f"model=sparse_ease with {self.n_items:,} items, {self.k} neighbors, and up to {pairs:,} pairs of items",
            "lower model.k, keep fewer items (data.k_core=5 or more), or choose model=ials or model=mf",
        )


def _entries(prepared: SparseGram, row: Int[Array, "B ..."], column: Int[Array, "B ..."]) -> Float[Array, "B ..."]:
    """Entries of the Gram matrix, found by binary search within the row; 0 where there is none."""
    row, column = jnp.broadcast_arrays(row, column)
    start, columns = jnp.asarray(prepared.start), jnp.asarray(prepared.columns)
    low, end = start[row], start[row + 1]

    def halve(_: Array, bounds: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = bounds
        middle = (low + high) // 2
        below = (low < high) & (columns.at[middle].get(mode="clip") < column)
        return jnp.where(below, middle + 1, low), jnp.where(below | (low >= high), high, middle)

    steps = int(prepared.start.shape[0]).bit_length()
    low, _ = jax.lax.fori_loop(0, steps, halve, (low, end))
    found = (low < end) & (columns.at[low].get(mode="clip") == column)
    return jnp.where(found, jnp.asarray(prepared.counts).at[low].get(mode="clip"), 0.0)
