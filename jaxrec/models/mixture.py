"""Mixture of logits: a score is a gated sum of the products of several component vectors of a query and of an item.

    score(u, i) = sum_ab pi_ab <f_a(h), g_b(e)>        f_a(h) = A_a h,  g_b(e) = B_b e
    pi = softmax over (a, b) of gate_u(h) + gate_i(e) + gate_ui(<f_a(h), g_b(e)> for all a, b)

h is the encoder output, e the vector of the item, and gates have one hidden layer of SiLU units. With a temperature,
components have norm 1 and f is divided by it.   [Zhai et al. 2023, Revisiting neural retrieval on accelerators; Ding
and Zhai 2025, Efficient retrieval with learned similarities]

Cost of a pair, with P products of D' numbers and H hidden units: P (D' + 2 H) multiplications and P + H exponentials,
in place of D multiplications. What depends on items alone, g and gate_i, is computed once a ranking, which is exact.

Fidelity: components are linear maps, where the authors have a gated layer before them, and no component is an embedding
of the user's id. Gates are added, where their code multiplies those of user and item by default; weights have no
dropout, and no loss balances their load.
"""

from dataclasses import dataclass
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.tree_util import Partial
from jaxtyping import Array, Float

from jaxrec.hyper import Traced
from jaxrec.models.cosine import smoothed_unit


class PairGate(NamedTuple):
    """Weights of the gate that reads the P products of a pair."""

    hidden: Float[Array, "P H"]
    hidden_bias: Float[Array, "H"]
    output: Float[Array, "H P"]
    output_bias: Float[Array, "P"]


@dataclass(frozen=True)
class Components:
    """Layout of a vector: components, then one gate logit per product, then further entries, e.g. an item bias.

    Attributes:
        n_query, n_item: numbers of components of a query and of an item
        dim: dimension of a component
    """

    n_query: int
    n_item: int
    dim: int

    @property
    def n_products(self) -> int:
        """Number of products of a pair, P."""
        return self.n_query * self.n_item

    def __call__(
        self, gate: PairGate, queries: Float[Array, "B D"], items: Float[Array, "D2 N"]
    ) -> Float[Array, "B N"]:
        """Scores of the items in these columns; further entries of the vectors add their dot product.

        All pairs are on one axis, the last: on a CPU, products of matrices and sums over products then vectorize.
        """
        shape = self.n_products, len(queries), items.shape[1]
        f, of_query, more = self._split(queries.T, self.n_query)
        g, of_item, added = self._split(items, self.n_item)
        f = f.reshape(self.n_query, self.dim, -1)
        products = jnp.einsum("adq,dbn->aqbn", f, g.reshape(self.dim, self.n_item, -1))
        products = products.swapaxes(1, 2).reshape(self.n_products, -1)
        hidden = jax.nn.silu(gate.hidden.T @ products + gate.hidden_bias[:, None])
        of_pair = gate.output.T @ hidden + gate.output_bias[:, None]
        logits = of_pair.reshape(shape) + of_query[:, :, None] + of_item[:, None, :]
        # A softmax that divides once per pair, not once per product.
        weights = jnp.exp(logits - jax.lax.stop_gradient(jnp.max(logits, axis=0))[None])
        scores = jnp.sum(weights * products.reshape(shape), axis=0) / jnp.sum(weights, axis=0)
        return scores + more.T @ added if len(more) else scores

    def _split(self, columns: Float[Array, "D N"], n: int) -> tuple[Array, Array, Array]:
        """Components, gate logits and further entries."""
        start, end = n * self.dim, n * self.dim + self.n_products
        return columns[:start], columns[start:end], columns[end:]


class Mixture(nn.Module):
    """Component vectors and gates.

    Attributes:
        components: numbers of components, and their dimension
        units: hidden units of each gate
    """

    components: Components
    units: int

    def setup(self) -> None:
        sizes = self.components
        self.query_maps = nn.Dense(sizes.n_query * sizes.dim, use_bias=False)
        self.item_maps = nn.Dense(sizes.n_item * sizes.dim, use_bias=False)
        self.query_gate = Gate(self.units, sizes.n_products)
        self.item_gate = Gate(self.units, sizes.n_products)
        normal, zeros = nn.initializers.lecun_normal(), nn.initializers.zeros
        self.pair_gate = PairGate(
            self.param("hidden", normal, (sizes.n_products, self.units)),
            self.param("hidden_bias", zeros, (self.units,)),
            self.param("output", normal, (self.units, sizes.n_products)),
            self.param("output_bias", zeros, (sizes.n_products,)),
        )

    def queries(self, h: Float[Array, "*S D"], temperature: float | Traced | None) -> Float[Array, "*S D2"]:
        """Components of queries, divided by the temperature, and their gate logits."""
        f = self._components(self.query_maps(h), temperature)
        f = f if temperature is None else f / temperature
        return jnp.concatenate([f.reshape(*h.shape[:-1], -1), self.query_gate(h)], axis=-1)

    def items(self, e: Float[Array, "I D"], temperature: float | Traced | None) -> Float[Array, "I D2"]:
        """Components of items, and their gate logits."""
        g = self._components(self.item_maps(e), temperature)
        return jnp.concatenate([g.swapaxes(-1, -2).reshape(len(e), -1), self.item_gate(e)], axis=-1)

    def comparison(self) -> Partial:
        """`Components.__call__` with the weights of this module, as a pytree: gradients flow to them."""
        return Partial(self.components, self.pair_gate)

    def _components(self, x: Float[Array, "*S D"], temperature: float | Traced | None) -> Float[Array, "*S K D2"]:
        """Components, of norm 1 if there is a temperature."""
        x = x.reshape(*x.shape[:-1], -1, self.components.dim)
        return x if temperature is None else smoothed_unit(x)


class Gate(nn.Module):
    """Logits W_2 SiLU(W_1 x + b)."""

    units: int
    n_products: int

    @nn.compact
    def __call__(self, x: Float[Array, "*S D"]) -> Float[Array, "*S P"]:
        hidden = jax.nn.silu(nn.Dense(self.units, name="hidden")(x))
        return nn.Dense(self.n_products, use_bias=False, name="output")(hidden)
