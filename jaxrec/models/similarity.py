"""Set similarities with shrinkage toward 0 for small overlaps.

|A ∩ B| / (f(|A|, |B|) + shrinkage), f as below. With weighted elements, sizes are sums of squared weights.
[Ferrari Dacrema et al. 2021, A troubling analysis of reproducibility and progress in recommender systems research]
"""

from typing import Literal

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxrec.hyper import Traced

Similarity = Literal["cosine", "jaccard", "dice"]


def similarity(
    kind: Similarity,
    common: Float[Array, "B N"],
    size: Float[Array, "B"],
    other: Float[Array, "N"],
    shrinkage: float | Traced,
) -> Float[Array, "B N"]:
    """Similarities of B sets with N other sets.

    Args:
        kind: cosine, jaccard or dice.
        common: sizes of the intersections.
        size: sizes of the B sets.
        other: sizes of the N sets.
        shrinkage: added to the denominator.
    """
    match kind:
        case "cosine":
            whole = jnp.sqrt(size)[:, None] * jnp.sqrt(other)[None, :]
        case "jaccard":  # also called Tanimoto
            whole = size[:, None] + other[None, :] - common
        case "dice":
            whole = (size[:, None] + other[None, :]) / 2
    return jnp.where(common > 0, common / (whole + shrinkage), 0.0)
