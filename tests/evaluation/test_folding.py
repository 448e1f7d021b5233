"""Folding of unrelated groups of items, by hand and of a trained softmax DNN; see docs/negatives.md."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array, Float, Int

from jaxrec.data.interactions import Interactions
from jaxrec.fitting.gradient import GradientFit
from jaxrec.fitting.objective import CatalogObjective, SampledObjective
from jaxrec.fitting.optimizers import adam
from jaxrec.fitting.pointwise import PointwiseObjective
from jaxrec.fitting.population import Population
from jaxrec.hyper import Hyper
from jaxrec.losses import softmax, squared_error
from jaxrec.models.softmax_dnn import SoftmaxDNN
from jaxrec.negatives.uniform import Uniform
from jaxrec.ranking import QueryRows, query_of

GROUPS, USERS, ITEMS = 4, 240, 120
EACH = 12  # items per user, all of the user's group


def folded(vectors: Float[Array, "I D"], group: Int[Array, "I"], k: int = 10) -> Float[Array, ""]:
    """Return the share of the k nearest neighbors of an item by cosine that are in another group, averaged over items.

    0 means separated groups; the value of a random order, about 1 - the sum of squared group shares, means that groups
    overlap completely. Memory: items x items.
    """
    length = jnp.sqrt(jnp.sum(vectors * vectors, axis=1, keepdims=True))
    unit = vectors / jnp.where(length > 0, length, 1.0)
    cosines = jnp.where(jnp.eye(len(unit), dtype=bool), -jnp.inf, unit @ unit.T)
    _, nearest = jax.lax.top_k(cosines, k)
    return jnp.mean((group[nearest] != group[:, None]).astype(jnp.float32))


def misplaced(
    scores: Float[Array, "B I"], of_user: Int[Array, "B"], group: Int[Array, "I"], k: int = 10
) -> Float[Array, ""]:
    """Return the share of the k best items that are in another group than the user, averaged over users."""
    _, best = jax.lax.top_k(scores, k)
    return jnp.mean((group[best] != of_user[:, None]).astype(jnp.float32))


def test_folding_by_hand():
    """Two groups on two axes; the last item of the second lies with the first."""
    vectors = np.array([[1.0, 0.0], [2.0, 0.1], [0.0, 1.0], [0.1, 3.0], [1.0, 0.05]], np.float32)
    group = np.array([0, 0, 1, 1, 1], np.int32)
    # Nearest of each: 1 has 4, 4 has 1 (both slope .05), 0 has 1 or 4 (the first by position), 2 has 3, 3 has 2.
    assert jax.jit(partial(folded, k=1))(vectors, group) == pytest.approx(2 / 5)
    scores = np.array([[3.0, 2.0, 1.0, 0.0, 0.0], [3.0, 0.0, 2.0, 0.0, 0.0]], np.float32)
    assert jax.jit(partial(misplaced, k=2))(scores, np.array([0, 1], np.int32), group) == pytest.approx((0 + 1 / 2) / 2)


def apart() -> tuple[Interactions, np.ndarray, np.ndarray]:
    """Users with random items of one group each; the value of every pair is 1."""
    rng = np.random.default_rng(0)
    of_user, of_item = np.arange(USERS) % GROUPS, np.arange(ITEMS) % GROUPS
    item = np.concatenate([rng.choice(np.flatnonzero(of_item == g), EACH, replace=False) for g in of_user])
    user = np.repeat(np.arange(USERS), EACH)
    value = np.ones(len(user), np.float32)
    ids = np.arange(USERS), np.arange(ITEMS)
    return Interactions(user.astype(np.int32), item.astype(np.int32), value, None, None, *ids), of_user, of_item


OBJECTIVES = {
    "chosen alone": PointwiseObjective(squared_error),
    "sampled softmax": SampledObjective(softmax, Uniform(20)),
    "full softmax": CatalogObjective(),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", OBJECTIVES)
def test_unrelated_groups_fold_without_negatives_and_are_separated_with_them(name):
    train, of_user, of_item = apart()
    one = Population(np.zeros(1, np.int32), Hyper({"optimizer.learning_rate": np.array([0.01], np.float32)}))
    model = SoftmaxDNN(USERS, ITEMS, history_length=EACH, embedding_dim=16, layers=(32,))
    fit = GradientFit(OBJECTIVES[name], partial(adam), epochs=30, batch_size=60 if name == "full softmax" else 256)
    params = jax.tree.map(lambda x: x[0], fit(model, train, one).params)
    query = query_of(model, QueryRows.for_users(np.arange(USERS), train.histories))

    @jax.jit
    def shares(params):
        vectors, scores = model.bind(params).item_vectors(), model.bind(params).score_catalog(query)
        return folded(vectors, jnp.asarray(of_item)), misplaced(scores, jnp.asarray(of_user), jnp.asarray(of_item))

    found, wrong = map(float, shares(params))
    if name == "chosen alone":
        assert found > 0.6  # by chance .75
        assert wrong > 0.6
    else:
        assert found < 0.05
        assert wrong < 0.05
