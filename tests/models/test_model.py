"""Defaults of `Model`, on models with one or two methods and simple scores."""

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrec import settings
from jaxrec.data.interactions import Interactions
from jaxrec.errors import InputError
from jaxrec.models import Additive, Factorized, Model
from jaxrec.query import Query

QUERY = Query(jnp.array([3, 1], jnp.int32))


class OfPairs(Model):
    """Scores 10 u + i, defined for candidates."""

    n_users: int = 4
    n_items: int = 5

    def __call__(self, query, items):
        return (10 * query.user[:, None] + items).astype(jnp.float32)


class OfCatalog(Model):
    """Scores 10 u + i, defined for the catalog."""

    n_items: int = 5

    def score_catalog(self, query):
        return (10 * query.user[:, None] + jnp.arange(5)[None, :]).astype(jnp.float32)


class OfVectors(Factorized):
    """Scores 10 u + i as products <(10 u, 1), (1, i)>."""

    n_items: int = 5
    history_length: int = 3

    def query_vectors(self, query):
        u = query.user.astype(jnp.float32)
        return jnp.stack([10 * u, jnp.ones_like(u)], axis=1)

    def item_vectors(self):
        i = jnp.arange(5, dtype=jnp.float32)
        return jnp.stack([jnp.ones_like(i), i], axis=1)


class Nothing(Model):
    """Defines no scores."""

    n_items: int = 5


class Vectorless(Factorized):
    """Defines no vectors."""

    n_items: int = 5


class Plain(nn.Module):
    """A Flax module that is not a `Model`."""

    n_items: int = 5


@pytest.mark.parametrize("kind", [OfPairs, OfCatalog, OfVectors])
def test_each_definition_of_scores_gives_the_others(kind):
    model = kind().bind({})
    np.testing.assert_array_equal(model.score_catalog(QUERY), [[30, 31, 32, 33, 34], [10, 11, 12, 13, 14]])
    np.testing.assert_array_equal(model(QUERY, jnp.array([[4, 0], [2, 2]])), [[34, 30], [12, 12]])


@pytest.mark.parametrize(
    ("kind", "missing"), [(Nothing, r"__call__\(query, items\) or score_catalog"), (Vectorless, "query_vectors")]
)
def test_a_model_without_scores_says_what_to_define(kind, missing):
    for ask in (lambda model: model(QUERY, jnp.zeros((2, 1), jnp.int32)), lambda model: model.score_catalog(QUERY)):
        with pytest.raises(InputError, match=f"{kind.__name__} must define {missing}"):
            ask(kind().bind({}))


def test_models_with_ids_and_without_histories_know_users_by_ids():
    assert [kind().reads_ids for kind in (OfPairs, OfCatalog, OfVectors)] == [True, False, False]
    assert OfPairs().by_history(9) is None
    assert isinstance(OfVectors().by_history(9), OfVectors)
    assert isinstance(OfCatalog().by_history(9), OfCatalog)


def test_optional_methods_have_defaults_without_effect():
    model = OfPairs()
    assert (model.history_length, model.pair_floats, model.needs_features) == (0, 1, False)
    assert not isinstance(model, Additive)
    np.testing.assert_array_equal(np.concatenate(model.bind({}).penalty(QUERY)), np.zeros(2 + 5))
    fresh = {"params": {}}
    train = Interactions(*np.zeros((2, 1), np.int32), None, None, None, np.arange(4), np.arange(5))
    assert model.pretrained(fresh, train) is fresh


def test_a_flax_module_that_is_not_a_model_is_refused(compose):
    tree = compose("model=mf", "data=synthetic")
    tree["model"] = {"_target_": f"{__name__}.Plain"}
    with pytest.raises(InputError, match=r"model._target_: .*Plain does not derive from jaxrec.models.Model"):
        settings.check(tree)
