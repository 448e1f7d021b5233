"""Traced hyperparameters of members: declared by annotation, replaced by path, and stored with trained parameters."""

from dataclasses import dataclass
from functools import partial
from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jaxtyping import Array, Float
from pydantic import PositiveInt

from jaxrec import experiment, settings
from jaxrec.fitting.row_updates import Dense
from jaxrec.hyper import (
    Declared,
    Hyper,
    Padded,
    Share,
    Swept,
    Traced,
    declared,
    hyper_of,
    with_hyper,
    with_numbers,
    zeroed,
)
from jaxrec.models.ancf import ANCF
from jaxrec.models.mf import MatrixFactorization
from jaxrec.settings import populations


def power(x: float, exponent: float = 2.0) -> float:
    return x**exponent


@dataclass(frozen=True)
class Sum:
    """Return weight times the sum of two terms."""

    first: partial
    second: "Sum | None" = None
    weight: float = 1.0

    def __call__(self, x: float) -> float:
        return self.weight * (self.first(x) + (self.second(x) if self.second else 0.0))


def hinge(positive, negatives, used, margin: float | Traced = 1.0):
    """Return max(0, margin - difference), a user-defined loss."""
    return jnp.mean(jax.nn.relu(margin - positive[:, None] + negatives) * used, axis=1)


def momentum(rate: float | Traced, decay: float | Swept = 0.9) -> Dense:
    """A user-defined optimizer with its own name for the learning rate."""
    return Dense(optax.chain(optax.trace(decay), optax.scale_by_learning_rate(rate)))


def declares(
    a: Share | Traced,
    b: PositiveInt | Traced | None,
    c: Annotated[float, "any"] | Swept,
    d: Annotated[PositiveInt, Padded("used")],
    e: PositiveInt,
    f: Float[Array, "B"],
) -> float | Traced: ...


def test_annotations_declare_traced_numbers():
    assert declared(declares) | {"return": None} == {
        "a": Declared("a", np.float32),
        "b": Declared("b", np.int32),
        "c": Declared("c", np.float32, is_swept=True),
        "d": Declared("used", np.int32, is_size=True),
        "return": None,
    }


def test_numbers_are_replaced_at_their_paths():
    part = Sum(partial(power, exponent=3.0), Sum(partial(power)))
    assert part(2.0) == 2**3 + 2**2
    new = with_numbers(
        part, {"weight": 10.0, "first.exponent": 1.0, "second.first.exponent": 4.0, "second.weight": 0.5}
    )
    assert new(2.0) == 10 * (2**1 + 0.5 * 2**4)
    assert part(2.0) == 12.0
    assert with_numbers(part, {}) is part


def test_a_model_gets_the_numbers_of_its_group():
    numbers = {"model.regularization": 0.3, "model.beta": 0.7, "loss.beta": 0.9, "optimizer.b1": 0.4}
    model = with_hyper(ANCF(3, 4), Hyper(numbers))
    assert (model.regularization, model.beta, model.embedding_dim) == (0.3, 0.7, 32)


def test_numbers_of_a_model_are_the_traced_fields_that_are_set():
    assert hyper_of(ANCF(3, 4, regularization=0.3, beta=0.7)) == Hyper({"model.regularization": 0.3})
    assert hyper_of(MatrixFactorization(3, 4, 8)) == Hyper({"model.regularization": 0.0})
    assert hyper_of(MatrixFactorization(3, 4, 8, width=2)).of("model") == {"regularization": 0.0, "width": 2}


@pytest.fixture(scope="module")
def trees(compose) -> list[dict]:
    small = ("data.n_users=30", "data.n_items=20", "data.n_interactions=400", "model.embedding_dim=4")
    tree = compose("model=mf", "data=synthetic", *small, "trainer.epochs=2", "trainer.batch_size=64")
    tree = settings.put(tree, {"loss.loss": {"_target_": f"{__name__}.hinge", "_partial_": True, "margin": 1.0}})
    tree |= {"optimizer": {"_target_": f"{__name__}.momentum", "_partial_": True, "rate": 0.1, "decay": 0.9}}
    different = ((1, 0.1, 0.9), (3.0, 0.2, 0.5))
    return [
        settings.put(tree, {"loss.loss.margin": margin, "optimizer.rate": rate, "optimizer.decay": decay})
        for margin, rate, decay in different
    ]


@pytest.mark.slow
def test_an_annotation_makes_a_number_differ_within_one_program(trees):
    """A margin of a loss and rates of an optimizer that appear nowhere else; each member trains as alone."""
    for tree in trees:
        settings.check(tree)
    ((places, shared, population),) = populations(trees)
    assert places == [0, 1]
    assert {key: x.tolist() for key, x in population.hyper.numbers.items()} == {
        "model.width": [4, 4],
        "model.regularization": pytest.approx([0.01, 0.01]),
        "negatives.n_negatives": [4, 4],
        "loss.loss.margin": [1.0, 3.0],
        "optimizer.rate": pytest.approx([0.1, 0.2]),
        "optimizer.decay": pytest.approx([0.9, 0.5]),
    }
    split, _ = experiment.prepare(shared)
    together = experiment.select(shared, split.selection, population).fit.params
    for member, tree in enumerate(trees):
        ((_, alone, one),) = populations([tree])
        assert "optimizer.decay" not in one.hyper.numbers  # a constant, as all members agree
        fitted = experiment.select(alone, split.selection, one).fit.params
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a[member], b[0], rtol=1e-4, atol=1e-6),  # noqa: B023
            together,
            fitted,
        )
    tables = together["params"]["item_embedding"]["table"]
    assert float(jnp.max(jnp.abs(tables[0] - tables[1]))) > 0.01


def test_values_that_are_not_annotated_are_part_of_the_program(trees):
    other = settings.put(trees[0], {"loss.history": "before"})
    assert [places for places, _, _ in populations([*trees, other])] == [[0, 1], [2]]


def test_an_unset_number_is_part_of_the_program(compose):
    tree = compose("model=sasrec")
    with_cosines = settings.put(tree, {"model.temperature": 0.1})
    places = [places for places, _, _ in populations([tree, with_cosines, settings.put(tree, {"model.dropout": 0})])]
    assert places == [[0, 2], [1]]


def test_zeros_replace_numbers_of_which_only_the_type_is_known():
    """As when compiling for absent devices, which cannot store values."""
    model = MatrixFactorization(3, 4, 2, regularization=0.5, width=2)
    numbers = {
        "regularization": jax.ShapeDtypeStruct((5,), jnp.float32),
        "width": jax.ShapeDtypeStruct((5,), jnp.int32),
    }
    found = zeroed(model, numbers)
    assert (found.regularization, found.width) == (0.0, 0)
    assert (type(found.regularization), type(found.width)) == (float, int)
    assert found == zeroed(model, {"regularization": np.float32(3), "width": jnp.ones(5, jnp.int32)})
