"""Losses at the positions of sequences: the target item against other items.

`h` [B, T, D] is the encoder output at each position, `target` [B, T] the item to predict, and `weight` [B, T] its
weight, 0 at positions without a target. Each loss is a weighted sum over positions.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jax.tree_util import Partial
from jaxtyping import Array, Float, Int
from pydantic import NonNegativeFloat

from jaxrec import backend
from jaxrec.arguments import check_loss
from jaxrec.fitting.pairwise_softmax import pairwise_cross_entropy
from jaxrec.fitting.sequence_negatives import Draw
from jaxrec.hyper import Swept
from jaxrec.losses import gbce, softmax
from jaxrec.negatives.sampler import SharedBy

BLOCK = 256  # positions scored at a time: 12 MiB of scores for 12,000 items


@runtime_checkable
class Cost(Protocol):
    """A loss of target items against other items."""

    def __call__(
        self,
        h: Float[Array, "B T D"],
        target: Int[Array, "B T"],
        weight: Float[Array, "B T"],
        vectors: Float[Array, "I D2"],
        rows: Int[Array, "B"],
        draw: Draw | None,
        compare: Partial | None = None,
    ) -> Float[Array, ""]:
        """Weighted sum of the loss over positions.

        Args:
            h: encoder outputs.
            target: target items.
            weight: weights of the positions.
            vectors: item vectors of the whole catalog.
            rows: indices of the examples, for `draw`.
            draw: draws negatives; None for losses that use none.
            compare: function that scores query vectors [B, D] with item vectors as columns [D2, N]; only passed for a
                model whose scores are not dot products.
        """
        ...


@dataclass(frozen=True)
class Softmax:
    """Cross-entropy over the whole catalog, a block of positions at a time."""

    def __call__(
        self,
        h: Float[Array, "B T D"],
        target: Int[Array, "B T"],
        weight: Float[Array, "B T"],
        vectors: Float[Array, "I D2"],
        rows: Int[Array, "B"],
        draw: Draw | None,
        compare: Partial | None = None,
    ) -> Float[Array, ""]:
        """Weighted sum of -log softmax(s) at the target."""
        positions = h.reshape(-1, h.shape[2]), vectors, target.reshape(-1), weight.reshape(-1)
        return catalog_cross_entropy(*positions) if compare is None else pairwise_cross_entropy(compare, *positions)


@dataclass(frozen=True)
class Sampled:
    """A loss of `jaxrec.losses` with sampled negatives.

    Attributes:
        loss: function of (positive [P], negatives [P, N], used [P, N])
        share: which positions use the same negatives: `position` (each draws its own), `user` (those of a window), or
            `batch` (all). Wider sharing is faster: `batch` is one matrix product, so that thousands of negatives cost
            little, `position` gathers each negative
        corrected: subtract log q from the scores of targets and negatives, if the sampler knows it; see
            `SampledObjective`
    """

    loss: Callable[..., Float[Array, "P"]] = softmax
    share: SharedBy = "user"
    corrected: bool = False

    def __post_init__(self) -> None:
        check_loss(self.loss, "positive", "negatives", "used")

    def __call__(
        self,
        h: Float[Array, "B T D"],
        target: Int[Array, "B T"],
        weight: Float[Array, "B T"],
        vectors: Float[Array, "I D2"],
        rows: Int[Array, "B"],
        draw: Draw | None,
        compare: Partial | None = None,
    ) -> Float[Array, ""]:
        """Weighted sum of the loss over positions."""
        assert draw is not None
        items, used, log_q = draw(self.share, rows, h, target, vectors, compare)
        negatives = _scores(h, vectors[items], self.share, compare)
        if compare is None:
            positive = jnp.sum(h * vectors[target], axis=2)
        else:
            positive = _scores(h, vectors[target][:, :, None], "position", compare)[:, :, 0]
        if self.corrected and log_q is not None:
            positive, negatives = positive - log_q[target], negatives - log_q[items]
        n = target.size
        loss = self.loss(positive.reshape(n), negatives.reshape(n, -1), used.reshape(n, -1))
        return jnp.sum(weight.reshape(n) * loss)


@dataclass(frozen=True)
class GBCE:
    """Generalized binary cross-entropy, which corrects for negative sampling; see `jaxrec.losses.gbce`.

    Attributes:
        t: calibration: 0 is plain binary cross-entropy, 1 corrects fully
        share: see `Sampled`
    """

    t: NonNegativeFloat | Swept = 0.75
    share: SharedBy = "user"

    def __call__(
        self,
        h: Float[Array, "B T D"],
        target: Int[Array, "B T"],
        weight: Float[Array, "B T"],
        vectors: Float[Array, "I D2"],
        rows: Int[Array, "B"],
        draw: Draw | None,
        compare: Partial | None = None,
    ) -> Float[Array, ""]:
        """Weighted sum of the loss over positions."""
        sampled = Sampled(partial(gbce, n_items=vectors.shape[0], t=self.t), self.share)
        return sampled(h, target, weight, vectors, rows, draw, compare)


def _scores(
    h: Float[Array, "B T D"], others: Float[Array, "#B #T N D2"], share: SharedBy, compare: Partial | None
) -> Float[Array, "B T N"]:
    """Scores of each position with its negatives."""
    if compare is None:
        match share:
            case "position":
                return jnp.einsum("btd,btnd->btn", h, others)
            case "user":
                return jnp.einsum("btd,bnd->btn", h, others[:, 0])
            case "batch":
                return h @ others[0, 0].T
    columns = others.swapaxes(2, 3) if share == "position" else others[:, 0].swapaxes(1, 2)
    columns = jnp.broadcast_to(columns, (len(h), *columns.shape[1:]))
    of_window = jax.vmap(lambda q, own: compare(q[None], own)[0]) if share == "position" else compare
    if not backend.choices().tiled:
        return jax.vmap(of_window)(h, columns)
    # A window at a time, and again for the gradient: the products of a pair are many.
    return jax.lax.map(lambda window: jax.checkpoint(of_window)(*window), (h, columns))


@jax.custom_vjp
def catalog_cross_entropy(
    h: Float[Array, "P D"], vectors: Float[Array, "I D"], target: Int[Array, "P"], weight: Float[Array, "P"]
) -> Float[Array, ""]:
    """Weighted sum of logsumexp(s) - s_target with s = vectors @ h; no gradient with respect to the weights.

    Positions are scored a block at a time, so at most one block of scores is stored. The gradient is computed in the
    same pass from the scores of a block, because storing or recomputing them would dominate the cost.
    """
    return _cross_entropy(h, vectors, target, weight)[0]


Gradients = tuple[Float[Array, "P D"], Float[Array, "I D"], Float[Array, "P"]]


def _cross_entropy(
    h: Float[Array, "P D"], vectors: Float[Array, "I D"], target: Int[Array, "P"], weight: Float[Array, "P"]
) -> tuple[Float[Array, ""], Gradients]:
    if backend.choices().branches:
        return _of_real_positions(h, vectors, target, weight)
    return _of_all_positions(h, vectors, target, weight)


def _of_all_positions(
    h: Float[Array, "P D"], vectors: Float[Array, "I D"], target: Int[Array, "P"], weight: Float[Array, "P"]
) -> tuple[Float[Array, ""], Gradients]:
    """Blocks as large as memory allows, of all positions: no lookups, and a known number of blocks."""
    n, (n_items, dim) = target.shape[0], vectors.shape
    size = min(n, backend.block(backend.choices().loss_block, n_items))
    size = -(-n // -(-n // size))  # blocks of equal size
    n_blocks = -(-n // size)
    pad = lambda x: jnp.pad(x, ((0, n_blocks * size - n), *[(0, 0)] * (x.ndim - 1)))  # noqa: E731
    blocks = jax.tree.map(lambda x: pad(x).reshape(n_blocks, size, *x.shape[1:]), (h, target, weight))

    def score_block(dvectors: Array, block: tuple[Array, Array, Array]) -> tuple[Array, tuple[Array, Array]]:
        q, item, w = block
        scores = q @ vectors.T
        is_target = jnp.arange(n_items)[None, :] == item[:, None]
        normalizer = jax.nn.logsumexp(scores, axis=1)
        cost = jnp.sum(w * (normalizer - jnp.sum(jnp.where(is_target, scores, 0), axis=1)))
        gradient = w[:, None] * (jnp.exp(scores - normalizer[:, None]) - is_target.astype(scores.dtype))
        return dvectors + gradient.T @ q, (cost, gradient @ vectors)

    if n_blocks == 1:
        dvectors, (total, dh) = score_block(jnp.zeros_like(vectors), jax.tree.map(lambda x: x[0], blocks))
    else:
        dvectors, (costs, dh) = jax.lax.scan(score_block, jnp.zeros_like(vectors), blocks)
        total, dh = jnp.sum(costs), dh.reshape(-1, dim)[:n]
    return total, (dh, dvectors, jnp.zeros_like(weight))


def _of_real_positions(
    h: Float[Array, "P D"], vectors: Float[Array, "I D"], target: Int[Array, "P"], weight: Float[Array, "P"]
) -> tuple[Float[Array, ""], Gradients]:
    """Blocks of `BLOCK` positions of positive weight, which are gathered: padding costs nothing."""
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
        # The gradient of the scores is w (e / z - one-hot(target)); the two terms are multiplied separately.
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
