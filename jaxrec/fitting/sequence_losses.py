"""What the positions of sequences cost: the item that came next, held against others.

`h` [B, T, D] is what a model answers at each position, `target` [B, T] the item that came next, `weight` [B, T] how
much it counts: 0 where nothing came next. Each cost is the weighted sum over positions of a loss.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int
from pydantic import NonNegativeFloat

from jaxrec.hyper import Traced
from jaxrec.losses import gbce, softmax
from jaxrec.negatives.candidates import Negatives

BLOCK = 256  # positions whose scores are held at once: 12 MiB for 12,000 items

PLACES = 1 << 12  # numbers a user has for the positions of one window

Draw = Callable[[Int[Array, "R"]], Negatives]  # numbers [R] → Candidates [R, N], the same for the same numbers
Share = Literal["position", "user", "batch"]


@runtime_checkable
class Cost(Protocol):
    """One way to hold the item that came next against others."""

    def __call__(
        self,
        h: Float[Array, "B T D"],
        target: Int[Array, "B T"],
        weight: Float[Array, "B T"],
        vectors: Float[Array, "I D"],
        rows: Int[Array, "B"],
        draw: Draw | None,
    ) -> Float[Array, ""]:
        """The weighted sum; `rows` are the examples' places in the data, by which `draw` gives negatives."""
        ...


@dataclass(frozen=True)
class Softmax:
    """Cross-entropy over the whole catalog, a block of positions at a time."""

    def __call__(
        self,
        h: Float[Array, "B T D"],
        target: Int[Array, "B T"],
        weight: Float[Array, "B T"],
        vectors: Float[Array, "I D"],
        rows: Int[Array, "B"],
        draw: Draw | None,
    ) -> Float[Array, ""]:
        """-log softmax(s) at the target."""
        return catalog_cross_entropy(h.reshape(-1, h.shape[2]), vectors, target.reshape(-1), weight.reshape(-1))


@dataclass(frozen=True)
class Sampled:
    """A loss of `jaxrec.losses` against sampled negatives.

    loss:  of (positive [P], negatives [P, N], used [P, N])
    share: who is held against the same negatives: nobody (`position`), the positions of a user, or all of a batch. The
           more share them, the cheaper: a batch's are one matrix product, a position's are gathered one by one
    """

    loss: Callable[..., Float[Array, "P"]] = softmax
    share: Share = "user"

    def __call__(
        self,
        h: Float[Array, "B T D"],
        target: Int[Array, "B T"],
        weight: Float[Array, "B T"],
        vectors: Float[Array, "I D"],
        rows: Int[Array, "B"],
        draw: Draw | None,
    ) -> Float[Array, ""]:
        """The loss of each position, added up by weight."""
        return jnp.sum(weight.reshape(-1) * self.loss(*_against(h, target, vectors, rows, draw, self.share)))


@dataclass(frozen=True)
class GBCE:
    """Binary cross-entropy whose positives count less, as sampling makes negatives rare: see `jaxrec.losses.gbce`.

    t:     how much of that is made good; 0 is plain binary cross-entropy
    share: see `Sampled`
    """

    t: NonNegativeFloat | Traced = 0.75
    share: Share = "user"

    def __call__(
        self,
        h: Float[Array, "B T D"],
        target: Int[Array, "B T"],
        weight: Float[Array, "B T"],
        vectors: Float[Array, "I D"],
        rows: Int[Array, "B"],
        draw: Draw | None,
    ) -> Float[Array, ""]:
        """The loss of each position, added up by weight."""
        scores = _against(h, target, vectors, rows, draw, self.share)
        return jnp.sum(weight.reshape(-1) * gbce(*scores, n_items=vectors.shape[0], t=self.t))


def _against(
    h: Array, target: Array, vectors: Array, rows: Array, draw: Draw | None, share: Share
) -> tuple[Float[Array, "P"], Float[Array, "P N"], Float[Array, "P N"]]:
    """Scores of the target and of its negatives, and which of these count: not the target itself, if it comes up."""
    assert draw is not None
    n_rows, length = target.shape
    if share == "position":
        # Counted from the end, so that no number depends on the padding before.
        back = jnp.arange(length - 1, -1, -1, dtype=rows.dtype)
        drawn: Negatives = draw((rows[:, None] * PLACES + back[None, :]).reshape(-1))
        items, used = (x.reshape(n_rows, length, -1) for x in (drawn.items, drawn.used))
        negatives = jnp.einsum("btd,btnd->btn", h, vectors[items])
    else:
        drawn = draw(rows if share == "user" else jnp.zeros(1, rows.dtype))
        items, used = (x[:, None, :] for x in (drawn.items, drawn.used))
        others = vectors[drawn.items]
        negatives = jnp.einsum("btd,bnd->btn", h, others) if share == "user" else h @ others[0].T
    positive = jnp.sum(h * vectors[target], axis=2)
    used = jnp.where(items == target[:, :, None], 0, used)
    return positive.reshape(-1), negatives.reshape(n_rows * length, -1), used.reshape(n_rows * length, -1)


@jax.custom_vjp
def catalog_cross_entropy(
    h: Float[Array, "P D"], vectors: Float[Array, "I D"], target: Int[Array, "P"], weight: Float[Array, "P"]
) -> Float[Array, ""]:
    """The weighted sum of logsumexp(s) - s_target, s = vectors @ h; it has no gradient with respect to the weights.

    Positions that weigh something are gathered, and scored `BLOCK` at a time, in as many blocks as they fill: never
    more than a block of scores is held, and padding costs nothing. The gradient is made in the same pass, while a
    block's scores are at hand: keeping or computing them again would be what costs most.
    """
    return _cross_entropy(h, vectors, target, weight)[0]


def _cross_entropy(
    h: Float[Array, "P D"], vectors: Float[Array, "I D"], target: Int[Array, "P"], weight: Float[Array, "P"]
) -> tuple[Float[Array, ""], tuple[Float[Array, "P D"], Float[Array, "I D"], Float[Array, "P"]]]:
    n = target.shape[0]
    block = min(BLOCK, n)
    real = weight > 0
    order = jnp.nonzero(real, size=-(-n // block) * block, fill_value=n)[0]

    def score_block(number: Array, sums: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        total, dh, dvectors = sums
        at = jax.lax.dynamic_slice_in_dim(order, number * block, block)
        q, w = h.at[at].get(mode="fill", fill_value=0), weight.at[at].get(mode="fill", fill_value=0)
        item = target.at[at].get(mode="fill", fill_value=0)
        scores = q @ vectors.T
        largest = jnp.max(scores, axis=1)
        e = jnp.exp(scores - largest[:, None])
        z = jnp.sum(e, axis=1)
        chosen = vectors[item]
        total = total + jnp.sum(w * (jnp.log(z) + largest - jnp.sum(q * chosen, axis=1)))
        # The gradient of the scores is w (e / z - 1 at the target); its parts are multiplied apart, not put together.
        share = (w / z)[:, None]
        dh = dh.at[at].set(share * (e @ vectors) - w[:, None] * chosen, mode="drop")
        dvectors = dvectors + jax.lax.dot_general(e, share * q, (((0,), (0,)), ((), ())))
        return total, dh, dvectors.at[item].add(-w[:, None] * q)

    n_blocks = -(-jnp.sum(real.astype(jnp.int32)) // block)
    start = jnp.float32(0), jnp.zeros_like(h), jnp.zeros_like(vectors)
    total, dh, dvectors = jax.lax.fori_loop(0, n_blocks, score_block, start)
    return total, (dh, dvectors, jnp.zeros_like(weight))


def _scaled(gradients: tuple[Array, Array, Array], scale: Float[Array, ""]) -> tuple[Array, Array, None, Array]:
    dh, dvectors, dweight = gradients
    return scale * dh, scale * dvectors, None, dweight


catalog_cross_entropy.defvjp(_cross_entropy, _scaled)
