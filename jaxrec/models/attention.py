"""Scaled dot-product attention.   [Vaswani et al. 2017]"""

from collections.abc import Iterable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxrec.errors import InputError
from jaxrec.hyper import Traced
from jaxrec.models.dropout import Noise, dropout


def attention(
    query: Float[Array, "B T D"],
    key: Float[Array, "B T D"],
    value: Float[Array, "B T D"],
    seen: Bool[Array, "B #T T"],
    n_heads: int,
    rate: float | Traced,
    noise: Noise | None,
    site: int,
    biases: Iterable[Float[Array, "#B H T T"]] = (),
) -> Float[Array, "B T D"]:
    """Multi-head attention: softmax(q k' / sqrt(d) + biases) v per head, over the positions where `seen` is True.

    Args:
        query, key, value: projected inputs.
        seen: attention mask, True where a query position may attend to a key position.
        n_heads: number of heads; must divide D.
        rate: dropout rate of the attention weights.
        noise: random source of the dropout; None disables it.
        site: number of the dropout layer, see `dropout`.
        biases: added to the logits, for each head H.
    """
    b, t, d = query.shape
    check_heads(n_heads, d)
    q, k, v = (x.reshape(b, t, n_heads, d // n_heads) for x in (query, key, value))
    scores = jnp.einsum("bqhd,bkhd->bhqk", q, k) / jnp.sqrt(jnp.float32(d // n_heads))
    for bias in biases:
        scores = scores + bias
    # A finite mask value: padding, which may attend to nothing, gets uniform weights instead of NaN.
    weights = jax.nn.softmax(jnp.where(seen[:, None], scores, -1e9), axis=-1)
    weights = dropout(weights, rate, noise, site)
    return jnp.einsum("bhqk,bkhd->bqhd", weights, v).reshape(b, t, d)


def check_heads(n_heads: int, width: int) -> None:
    """Raise an InputError if `n_heads` does not divide the embedding dimension."""
    if width % n_heads:
        raise InputError(f"model.n_heads={n_heads} must divide model.embedding_dim={width}")
