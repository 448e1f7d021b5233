"""Optimizers as functions of hyperparameters; `Traced` and `Swept` ones may differ between members.

Those that update every parameter share these options:

    clip_norm        largest norm of a batch's gradient, over all parameters; None: no limit
    warmup_epochs    epochs in which the learning rate rises linearly from 0
    cosine_epochs    number of epochs after which the learning rate has fallen to 0 along half a cosine, after the
                     warm-up; None: constant.   [Loshchilov and Hutter 2017]
    ema              decay per step of the exponential moving average of the parameters, which is then validated and
                     kept; None: no average
"""

from collections.abc import Callable
from typing import Annotated

import jax.numpy as jnp
import optax
from jaxtyping import Array, Float
from pydantic import Field, NonNegativeFloat, PositiveFloat

from jaxrec.arguments import checked_by
from jaxrec.errors import InputError
from jaxrec.fitting.row_updates import Averaged, Dense, RowDescent, adagrad_rule, sgd_rule
from jaxrec.hyper import Swept, Traced

Decay = Annotated[float, Field(gt=0, lt=1)]
Momentum = Annotated[float, Field(ge=0, lt=1)]  # weight of earlier gradients in a moving average


def check_epochs(
    warmup_epochs: NonNegativeFloat | Swept = 0.0, cosine_epochs: PositiveFloat | Swept | None = None
) -> None:
    """Raise an InputError if the warm-up is longer than the whole schedule."""
    if cosine_epochs is not None and warmup_epochs >= cosine_epochs:
        raise InputError(
            f"optimizer.warmup_epochs={warmup_epochs} must be below optimizer.cosine_epochs={cosine_epochs}, which "
            "counts the warm-up too"
        )


@checked_by(check_epochs)
def adam(
    learning_rate: PositiveFloat | Traced,
    weight_decay: NonNegativeFloat | Traced = 0.0,
    b1: Momentum | Swept = 0.9,
    b2: Momentum | Swept = 0.999,
    eps: PositiveFloat | Swept = 1e-8,
    clip_norm: PositiveFloat | None = None,
    warmup_epochs: NonNegativeFloat | Swept = 0.0,
    cosine_epochs: PositiveFloat | Swept | None = None,
    ema: Decay | Swept | None = None,
) -> Dense | Averaged:
    """Adam with decoupled weight decay.   [Kingma and Ba 2015; Loshchilov and Hutter 2019]"""
    steps = optax.adamw(learning_rate, b1=b1, b2=b2, eps=eps, weight_decay=weight_decay)
    return _with_options(steps, clip_norm, warmup_epochs, cosine_epochs, ema)


@checked_by(check_epochs)
def nadam(
    learning_rate: PositiveFloat | Traced,
    weight_decay: NonNegativeFloat | Traced = 0.0,
    b1: Momentum | Swept = 0.9,
    b2: Momentum | Swept = 0.999,
    eps: PositiveFloat | Swept = 1e-8,
    clip_norm: PositiveFloat | None = None,
    warmup_epochs: NonNegativeFloat | Swept = 0.0,
    cosine_epochs: PositiveFloat | Swept | None = None,
    ema: Decay | Swept | None = None,
) -> Dense | Averaged:
    """Adam with Nesterov momentum and decoupled weight decay.   [Dozat 2016]"""
    steps = optax.nadamw(learning_rate, b1=b1, b2=b2, eps=eps, weight_decay=weight_decay)
    return _with_options(steps, clip_norm, warmup_epochs, cosine_epochs, ema)


@checked_by(check_epochs)
def lion(
    learning_rate: PositiveFloat | Traced,
    weight_decay: NonNegativeFloat | Traced = 0.0,
    b1: Momentum | Swept = 0.9,
    b2: Momentum | Swept = 0.99,
    clip_norm: PositiveFloat | None = None,
    warmup_epochs: NonNegativeFloat | Swept = 0.0,
    cosine_epochs: PositiveFloat | Swept | None = None,
    ema: Decay | Swept | None = None,
) -> Dense | Averaged:
    """Lion: the sign of an interpolated momentum, with decoupled weight decay.   [Chen et al. 2023]"""
    steps = optax.lion(learning_rate, b1=b1, b2=b2, weight_decay=weight_decay)
    return _with_options(steps, clip_norm, warmup_epochs, cosine_epochs, ema)


@checked_by(check_epochs)
def adagrad(
    learning_rate: PositiveFloat | Traced,
    weight_decay: NonNegativeFloat | Traced = 0.0,
    initial_accumulator: NonNegativeFloat = 0.1,
    clip_norm: PositiveFloat | None = None,
    warmup_epochs: NonNegativeFloat | Swept = 0.0,
    cosine_epochs: PositiveFloat | Swept | None = None,
    ema: Decay | Swept | None = None,
) -> Dense | Averaged:
    """Adagrad, with smaller steps for frequently updated parameters.   [Duchi et al. 2011]"""
    scale = optax.scale_by_rss(initial_accumulator_value=initial_accumulator)
    steps = optax.add_decayed_weights(weight_decay), scale, optax.scale_by_learning_rate(learning_rate)
    return _with_options(optax.chain(*steps), clip_norm, warmup_epochs, cosine_epochs, ema)


@checked_by(check_epochs)
def sgd(
    learning_rate: PositiveFloat | Traced,
    weight_decay: NonNegativeFloat | Traced = 0.0,
    momentum: Momentum = 0.0,
    clip_norm: PositiveFloat | None = None,
    warmup_epochs: NonNegativeFloat | Swept = 0.0,
    cosine_epochs: PositiveFloat | Swept | None = None,
    ema: Decay | Swept | None = None,
) -> Dense | Averaged:
    """Stochastic gradient descent; weight decay is added to the gradient."""
    steps = optax.add_decayed_weights(weight_decay), optax.sgd(learning_rate, momentum=momentum or None)
    return _with_options(optax.chain(*steps), clip_norm, warmup_epochs, cosine_epochs, ema)


def _with_options(
    transformation: optax.GradientTransformation,
    clip_norm: float | None,
    warmup_epochs: float | Swept,
    cosine_epochs: float | Swept | None,
    ema: float | Swept | None,
) -> Dense | Averaged:
    """Return an optimizer with the options of this module; those that are off leave no trace in the program."""
    if clip_norm is not None:
        transformation = optax.chain(optax.clip_by_global_norm(clip_norm), transformation)
    is_constant = cosine_epochs is None and isinstance(warmup_epochs, float | int) and not warmup_epochs
    optimizer = Dense(transformation, None if is_constant else rate(warmup_epochs, cosine_epochs))
    return optimizer if ema is None else Averaged(optimizer, ema)


def rate(
    warmup_epochs: float | Swept, cosine_epochs: float | Swept | None
) -> Callable[[Float[Array, ""]], Float[Array, ""]]:
    """Factor of the learning rate after a number of epochs: linear warm-up, then half a cosine or constant."""

    def factor(passed: Float[Array, ""]) -> Float[Array, ""]:
        warmup = jnp.asarray(warmup_epochs, jnp.float32)
        rising = jnp.minimum(passed / jnp.maximum(warmup, 1e-6), 1)
        if cosine_epochs is None:
            return rising
        share = jnp.clip((passed - warmup) / (jnp.asarray(cosine_epochs, jnp.float32) - warmup), 0, 1)
        return rising * (1 + jnp.cos(jnp.pi * share)) / 2

    return factor


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
