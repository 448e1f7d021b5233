"""Numbers of members, put into what they belong to: by path, and from the annotation to the trained parameters."""

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrec import experiment, settings
from jaxrec.hyper import Hyper, Traced, with_hyper, with_numbers
from jaxrec.models.ancf import ANCF


def power(x: float, exponent: float = 2.0) -> float:
    return x**exponent


@dataclass(frozen=True)
class Sum:
    """weight times the sum of two terms."""

    first: partial
    second: "Sum | None" = None
    weight: float = 1.0

    def __call__(self, x: float) -> float:
        return self.weight * (self.first(x) + (self.second(x) if self.second else 0.0))


def hinge(positive, negatives, used, margin: float | Traced = 1.0):
    """max(0, margin - difference), a loss that a user may write."""
    return jnp.mean(jax.nn.relu(margin - positive[:, None] + negatives) * used, axis=1)


def test_numbers_are_replaced_at_their_paths():
    part = Sum(partial(power, exponent=3.0), Sum(partial(power)))
    assert part(2.0) == 2**3 + 2**2
    new = with_numbers(
        part, {"weight": 10.0, "first.exponent": 1.0, "second.first.exponent": 4.0, "second.weight": 0.5}
    )
    assert new(2.0) == 10 * (2**1 + 0.5 * 2**4)
    assert part(2.0) == 12.0
    assert with_numbers(part, {}) is part


def test_a_model_gets_the_numbers_that_it_has_fields_for():
    numbers = (0.1, 0.2, 0.3, 8, 2)
    model = with_hyper(ANCF(3, 4), Hyper(*numbers, others={"model.beta": 0.7, "loss.beta": 0.9, "optimizer.b1": 0.4}))
    assert (model.regularization, model.beta, model.embedding_dim) == (0.3, 0.7, 32)


@pytest.fixture(scope="module")
def trees(compose) -> list[dict]:
    small = ("data.n_users=30", "data.n_items=20", "data.n_interactions=400", "model.embedding_dim=4")
    tree = compose("model=mf", "data=synthetic", *small, "trainer.epochs=2", "trainer.batch_size=64")
    tree = settings.put(tree, {"loss.loss": {"_target_": f"{__name__}.hinge", "_partial_": True, "margin": 1.0}})
    return [
        settings.put(tree, {"loss.loss.margin": margin, "optimizer.b1": b1}) for margin, b1 in ((1, 0.9), (3.0, 0.5))
    ]


@pytest.mark.slow
def test_an_annotation_makes_a_number_differ_within_one_program(trees):
    """A margin of a loss and a rate of an optimizer that nothing else names; each member is what it is alone."""
    for tree in trees:
        settings.check(tree)
    ((places, shared, population),) = settings.populations(trees)
    assert places == [0, 1]
    assert {key: x.tolist() for key, x in population.hyper.others.items()} == {
        "loss.loss.margin": [1.0, 3.0],
        "optimizer.b1": pytest.approx([0.9, 0.5]),
    }
    split, _ = experiment.prepare(shared)
    together = experiment.select(shared, split.selection, population).fit.params
    for member, tree in enumerate(trees):
        ((_, alone, one),) = settings.populations([tree])
        assert not one.hyper.others
        fitted = experiment.select(alone, split.selection, one).fit.params
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a[member], b[0], rtol=1e-4, atol=1e-6),  # noqa: B023
            together,
            fitted,
        )
    tables = together["params"]["item_embedding"]["table"]
    assert float(jnp.max(jnp.abs(tables[0] - tables[1]))) > 0.01


def test_what_is_not_annotated_names_the_program(trees):
    other = settings.put(trees[0], {"loss.history": "before"})
    assert [places for places, _, _ in settings.populations([*trees, other])] == [[0, 1], [2]]
