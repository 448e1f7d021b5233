"""Optimizers of optax as functions of the two numbers that may differ between the members of a population."""

import optax
from pydantic import NonNegativeFloat, PositiveFloat

from jaxrec.hyper import Traced


def adam(
    learning_rate: PositiveFloat | Traced,
    weight_decay: NonNegativeFloat | Traced = 0.0,
    b1: NonNegativeFloat = 0.9,
    b2: NonNegativeFloat = 0.999,
    eps: PositiveFloat = 1e-8,
) -> optax.GradientTransformation:
    """Adam with decoupled weight decay.   [Kingma and Ba 2015; Loshchilov and Hutter 2019]"""
    return optax.adamw(learning_rate, b1=b1, b2=b2, eps=eps, weight_decay=weight_decay)


def adagrad(
    learning_rate: PositiveFloat | Traced,
    weight_decay: NonNegativeFloat | Traced = 0.0,
    initial_accumulator: NonNegativeFloat = 0.1,
) -> optax.GradientTransformation:
    """Adagrad, whose steps shrink for what is seen often.   [Duchi et al. 2011]"""
    scale = optax.scale_by_rss(initial_accumulator_value=initial_accumulator)
    return optax.chain(optax.add_decayed_weights(weight_decay), scale, optax.scale_by_learning_rate(learning_rate))


def sgd(
    learning_rate: PositiveFloat | Traced,
    weight_decay: NonNegativeFloat | Traced = 0.0,
    momentum: NonNegativeFloat = 0.0,
) -> optax.GradientTransformation:
    """Stochastic gradient descent; weight decay is added to the gradient."""
    return optax.chain(optax.add_decayed_weights(weight_decay), optax.sgd(learning_rate, momentum=momentum or None))
