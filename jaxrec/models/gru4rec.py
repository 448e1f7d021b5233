"""GRU4Rec: a recurrent network over the items of a history.

h_t = GRU(e_t, h_(t-1)) and score(u, i) = <h_T, e_i> + b_i.   [Hidasi et al. 2016, Session-based recommendations with
recurrent neural networks; Hidasi and Karatzoglou 2018; cells: Cho et al. 2014, Hochreiter and Schmidhuber 1997]
"""

from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray
from pydantic import PositiveInt

from jaxrec.hyper import Traced
from jaxrec.models.dropout import Noise, dropout
from jaxrec.models.encoder import Encoder
from jaxrec.models.sequence import Context, Rate


class GRU4Rec(Encoder):
    """Stacked GRU or LSTM layers whose last state is scored against the item vectors.

    Attributes:
        history_length: see `SequenceModel`
        embedding_dim: dimension of item vectors and of the state; static
        n_layers, cell: number of stacked layers, and their type
        dropout: dropout rate of each layer's input; traced
        init_std: root-mean-square norm of an initial item vector

    Fidelity: input and output items share one table (the "constrained embedding" of the 2018 paper), and scores have a
    bias. Instead of session-parallel batches, which carry the state from batch to batch, batches are padded windows
    that contain their whole history. The loss is cross-entropy over the catalog; the papers' losses on the other items
    of a batch are `loss=sequence_sampled_softmax` and `sequence_bce`.
    """

    n_layers: PositiveInt = 1
    cell: Literal["gru", "lstm"] = "gru"
    dropout: Rate | Traced = 0.2
    has_item_bias = True

    def setup(self) -> None:
        super().setup()
        self.layers = [Recurrent(self.embedding_dim, self.cell) for _ in range(self.n_layers)]

    def hidden(self, items: Int[Array, "B T"], noise: Noise | None, context: Context | None) -> Float[Array, "B T D"]:
        """The last layer's state after every position."""
        x, real = self.with_inputs(self.embedded(items, noise), items, context)
        for site, layer in enumerate(self.layers):
            x = layer(dropout(x, self.dropout, noise, site), real)
        return x[:, -items.shape[1] :]


class Recurrent(nn.Module):
    """One recurrent layer; input projections are computed for all positions at once. Padding keeps the state."""

    dim: int
    cell: str

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"], real: Bool[Array, "B T"]) -> Float[Array, "B T D"]:
        n_gates, step = {"gru": (3, gru), "lstm": (4, lstm)}[self.cell]
        width = n_gates * self.dim
        inputs = nn.Dense(width, name="input")(x)
        weights = self.param("state", orthogonal, (self.dim, width))
        bias = self.param("state_bias", nn.initializers.zeros, (width,))

        def move(state: tuple[Array, Array], entry: tuple[Array, Array]) -> tuple[tuple[Array, Array], Array]:
            gates, is_real = entry
            new_state = step(gates, state[0] @ weights + bias[None, :], *state)
            state = jax.tree.map(lambda new, old: jnp.where(is_real[:, None], new, old), new_state, state)
            return state, state[0]

        nothing = jnp.zeros((x.shape[0], self.dim))
        _, states = jax.lax.scan(move, (nothing, nothing), (inputs.swapaxes(0, 1), real.T))
        return states.swapaxes(0, 1)


def orthogonal(key: PRNGKeyArray, shape: tuple[int, int]) -> Float[Array, "D G"]:
    """Random orthogonal matrix. Members are computed one after another, also where they are vmapped.

    Batched LAPACK calls wait for threads of the pool that runs them, a deadlock with as many devices as cores.
    """
    return jax.custom_batching.sequential_vmap(lambda key: nn.initializers.orthogonal()(key, shape))(key)


def gru(
    inputs: Float[Array, "B G"], states: Float[Array, "B G"], h: Float[Array, "B D"], unused: Float[Array, "B D"]
) -> tuple[Float[Array, "B D"], Float[Array, "B D"]]:
    """GRU cell: h' = (1 - z) n + z h with r, z = sigmoid(. + .) and n = tanh(. + r .)."""
    (xr, xz, xn), (hr, hz, hn) = jnp.split(inputs, 3, axis=1), jnp.split(states, 3, axis=1)
    z = jax.nn.sigmoid(xz + hz)
    n = jnp.tanh(xn + jax.nn.sigmoid(xr + hr) * hn)
    return (1 - z) * n + z * h, unused


def lstm(
    inputs: Float[Array, "B G"], states: Float[Array, "B G"], h: Float[Array, "B D"], c: Float[Array, "B D"]
) -> tuple[Float[Array, "B D"], Float[Array, "B D"]]:
    """LSTM cell: c' = f c + i g and h' = o tanh(c') with i, f, o = sigmoid and g = tanh of the sums."""
    i, f, g, o = jnp.split(inputs + states, 4, axis=1)
    c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
    return jax.nn.sigmoid(o) * jnp.tanh(c), c
