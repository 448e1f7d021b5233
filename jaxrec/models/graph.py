"""Bipartite graph of users and items on the device, and propagation of vectors over it."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxrec.data.interactions import Interactions
from jaxrec.models.gram import binary

SEGMENT = 16  # neighbors per segment; 8 and 32 are not faster on a CPU, and longer ones pad sparse data more

Vectors = tuple[Float[Array, "U D"], Float[Array, "I D"]]


class Neighbors(NamedTuple):
    """Neighbors of every row (of every user, or of every item), cut into segments of one length.

    Attributes:
        entry: neighbors in each segment; incomplete segments are padded with the number of possible neighbors
        owner: row of each segment, ascending
        scale: 1 / sqrt(number of neighbors) of each row; 1 for a row without neighbors
    """

    entry: Int[Array, "S L"]
    owner: Int[Array, "S"]
    scale: Float[Array, "R"]

    def sums(self, vectors: Float[Array, "N D"]) -> Float[Array, "R D"]:
        """Sum over the neighbors of each row of the neighbor's vector."""
        rows = jnp.concatenate([vectors, jnp.zeros((1, vectors.shape[1]))])  # padding adds a vector of zeros
        # One sum per place: XLA fuses these to one loop, which takes a tenth of the time of `segment_sum` over all
        # pairs on a CPU and allocates no array of pairs x D.
        parts = jnp.zeros((self.owner.shape[0], vectors.shape[1]))
        for place in range(self.entry.shape[1]):
            parts = parts + rows[self.entry[:, place]]
        return jax.ops.segment_sum(parts, self.owner, self.scale.shape[0], indices_are_sorted=True)


class UserItemGraph(NamedTuple):
    """Bipartite graph with an edge for each user-item pair: the items of every user, and the users of every item."""

    users: Neighbors
    items: Neighbors

    def propagated(self, vectors: Vectors) -> Vectors:
        """D^-1/2 A D^-1/2 times the vectors: p_u = sum of q_i / sqrt(d_u d_i) over the items of u; q_i by symmetry."""
        p, q = vectors
        of_users, of_items = self.users.scale[:, None], self.items.scale[:, None]
        return of_users * self.users.sums(of_items * q), of_items * self.items.sums(of_users * p)


def user_item_graph(train: Interactions) -> UserItemGraph:
    """The graph of the training interactions of all kinds; repeated ones are one edge."""
    x = binary(train)
    return UserItemGraph(*(_neighbors(rows.indptr, rows.indices, rows.shape[1]) for rows in (x, x.T.tocsr())))


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def mean_of_layers(n_layers: int, graph: UserItemGraph, vectors: Vectors) -> Vectors:
    """Mean of the vectors propagated 0, 1, ... and `n_layers` times; with 0 layers, the vectors."""
    total = vectors
    for _ in range(n_layers):
        total = jax.tree.map(jnp.add, vectors, graph.propagated(total))
    return jax.tree.map(lambda x: x / (n_layers + 1), total)


def _forward(n_layers: int, graph: UserItemGraph, vectors: Vectors) -> tuple[Vectors, UserItemGraph]:
    return mean_of_layers(n_layers, graph, vectors), graph


def _backward(n_layers: int, graph: UserItemGraph, gradient: Vectors) -> tuple[None, Vectors]:
    # The normalized adjacency matrix is symmetric. That of `sums` by JAX would scatter, ten times slower on a CPU.
    return None, mean_of_layers(n_layers, graph, gradient)


mean_of_layers.defvjp(_forward, _backward)


def _neighbors(offsets: Int[np.ndarray, "R1"], entries: Int[np.ndarray, "E"], n_entries: int) -> Neighbors:
    """Cut rows `entries[offsets[r] : offsets[r + 1]]` into segments."""
    degree = np.diff(offsets)
    n_segments = -(-degree // SEGMENT)
    first = np.cumsum(n_segments) - n_segments
    owner = np.repeat(np.arange(len(degree), dtype=np.int32), n_segments)
    row = np.repeat(np.arange(len(degree)), degree)
    at = np.arange(len(entries)) - offsets[row]
    segments = np.full((len(owner), SEGMENT), n_entries, np.int32)
    segments[first[row] + at // SEGMENT, at % SEGMENT] = entries
    scale = 1 / np.sqrt(np.maximum(degree, 1))
    return Neighbors(jnp.asarray(segments), jnp.asarray(owner), jnp.asarray(scale, jnp.float32))
