"""Optimizers as functions of hyperparameters; `Traced` and `Swept` ones may differ between members."""

import jax.numpy as jnp
import optax
from pydantic import NonNegativeFloat, PositiveFloat

from jaxrec.fitting.row_updates import Dense, RowDescent, adagrad_rule, sgd_rule
from jaxrec.hyper import Swept, Traced


def adam(
    learning_rate: PositiveFloat | Traced,
    weight_decay: NonNegativeFloat | Traced = 0.0,
    b1: NonNegativeFloat | Swept = 0.9,
    b2: NonNegativeFloat | Swept = 0.999,
    eps: PositiveFloat | Swept = 1e-8,
    clip_norm: PositiveFloat | None = None,
) -> Dense:
    """Adam with decoupled weight decay.   [Kingma and Ba 2015; Loshchilov and Hutter 2019]"""
    return _clipped(optax.adamw(learning_rate, b1=b1, b2=b2, eps=eps, weight_decay=weight_decay), clip_norm)


def adagrad(
    learning_rate: PositiveFloat | Traced,
    weight_decay: NonNegativeFloat | Traced = 0.0,
    initial_accumulator: NonNegativeFloat = 0.1,
    clip_norm: PositiveFloat | None = None,
) -> Dense:
    """Adagrad, with smaller steps for frequently updated parameters.   [Duchi et al. 2011]"""
    scale = optax.scale_by_rss(initial_accumulator_value=initial_accumulator)
    steps = optax.add_decayed_weights(weight_decay), scale, optax.scale_by_learning_rate(learning_rate)
    return _clipped(optax.chain(*steps), clip_norm)


def sgd(
    learning_rate: PositiveFloat | Traced,
    weight_decay: NonNegativeFloat | Traced = 0.0,
    momentum: NonNegativeFloat = 0.0,
    clip_norm: PositiveFloat | None = None,
) -> Dense:
    """Stochastic gradient descent; weight decay is added to the gradient."""
    steps = optax.add_decayed_weights(weight_decay), optax.sgd(learning_rate, momentum=momentum or None)
    return _clipped(optax.chain(*steps), clip_norm)


def _clipped(transformation: optax.GradientTransformation, norm: float | None) -> Dense:
    """Return an optimizer that scales gradients down to a largest norm, over all parameters; None: it does not."""
    if norm is not None:
        transformation = optax.chain(optax.clip_by_global_norm(norm), transformation)
    return Dense(transformation)


def row_sgd(learning_rate: PositiveFloat | Traced) -> RowDescent:
    """SGD that updates only the rows used by a batch: identical to `sgd` without weight decay and momentum."""
    return RowDescent(sgd_rule(learning_rate), lambda n: (), optax.sgd(learning_rate))


def row_adagrad(
    learning_rate: PositiveFloat | Traced,
    initial_accumulator: NonNegativeFloat = 0.1,
    eps: PositiveFloat = 1e-8,
) -> RowDescent:
    """Row-wise Adagrad: one accumulator per row, updating only the rows used by a batch; for tables of a million rows.

    [Duchi et al. 2011; the row-wise form of Naumov et al. 2019, Deep learning recommendation model]
    """
    rest = optax.chain(
        optax.scale_by_rss(initial_accumulator_value=initial_accumulator), optax.scale_by_learning_rate(learning_rate)
    )
    return RowDescent(adagrad_rule(learning_rate, eps), lambda n: jnp.full(n, initial_accumulator, jnp.float32), rest)
