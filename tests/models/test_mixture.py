"""Mixture of logits: scores by the formula of the paper, rankings by brute force, and one component as a cosine."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit
from scipy.special import softmax as normalized

from jaxrec.data.interactions import Interactions
from jaxrec.features import FeatureTables, table, with_tables
from jaxrec.fitting.chunks import SequenceBatch
from jaxrec.fitting.objective import MASKED_SCORE
from jaxrec.fitting.sequence import _encoded as encoded
from jaxrec.history import History
from jaxrec.hyper import hyper_of
from jaxrec.models.bert4rec import BERT4Rec
from jaxrec.models.dropout import Noise
from jaxrec.models.gru4rec import GRU4Rec
from jaxrec.models.hstu import HSTU
from jaxrec.models.lru import LRURec
from jaxrec.models.nextitnet import NextItNet
from jaxrec.models.sasrec import SASRec
from jaxrec.query import Query
from jaxrec.ranking import QueryRows, Ranker
from tests.models.synthetic_features import OF_ITEMS
from tests.slow import some_slow

ITEMS, LENGTH, DIM = 11, 4, 6
N_QUERY, N_ITEM, COMPONENT, UNITS = 2, 3, 5, 4
MIXED = {"query_components": N_QUERY, "item_components": N_ITEM, "component_dim": COMPONENT, "gate_units": UNITS}
SIZES = {"n_items": ITEMS, "history_length": LENGTH, "embedding_dim": DIM}
PLAIN = {
    "sasrec": SASRec(**SIZES, n_blocks=1),
    "hstu": HSTU(**SIZES, n_blocks=1),
    "lru": LRURec(**SIZES, n_blocks=1),
    "gru4rec": GRU4Rec(**SIZES),
    "nextitnet": NextItNet(**SIZES, dilations=(1,)),
    "bert4rec": BERT4Rec(**SIZES, n_blocks=1),
}
HISTORIES = np.array([[-1, -1, 3, 0], [6, 1, 2, 10], [-1, -1, -1, -1]], np.int32)
QUERY = Query(jnp.arange(3), History(jnp.asarray(HISTORIES)))


def random_params(model) -> dict:
    """Return random values for every parameter, also for biases."""
    query = Query(jnp.zeros(1, jnp.int32))
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), query, jnp.zeros((1, 1), jnp.int32)))
    rng = np.random.default_rng(3)
    return jax.tree.map(lambda x: jnp.asarray(rng.normal(0.1, 0.7, x.shape), jnp.float32), shapes)


@cache
def mixed(name: str, temperature: float | None):
    """Return a model with a mixture, its parameters, and the vectors of the same model without one."""
    plain = PLAIN[name]
    model = plain.clone(**MIXED, temperature=temperature)
    params = random_params(model)

    def vectors(params):
        bound = plain.bind(params)
        return bound.query_vectors(QUERY), bound.item_vectors()

    h, e = jax.jit(vectors)(params)
    return model, params, np.asarray(h, np.float64), np.asarray(e, np.float64)


def scores_of_the_paper(p: dict, h: np.ndarray, e: np.ndarray, temperature: float | None) -> np.ndarray:
    """Return sum_ab pi_ab <f_a, g_b> of every query and item, pair by pair; a bias in the last column is added.

    An empty history is a vector of zeros in some families, whose cosines are 0.
    """
    p = jax.tree.map(lambda x: np.asarray(x, np.float64), p)
    components = lambda x, part: np.split(x[:DIM] @ p[part]["kernel"], p[part]["kernel"].shape[1] // COMPONENT)  # noqa: E731

    def gate(x, part):
        hidden = x[:DIM] @ p[part]["hidden"]["kernel"] + p[part]["hidden"]["bias"]
        return (hidden * expit(hidden)) @ p[part]["output"]["kernel"]

    scores = np.zeros((len(h), len(e)))
    for row, query in enumerate(h):
        for column, item in enumerate(e):
            products = []
            for f in components(query, "query_maps"):
                for g in components(item, "item_maps"):
                    length = 1 if temperature is None else np.linalg.norm(f) * np.linalg.norm(g) * temperature
                    products.append(f @ g / (length or 1))
            hidden = np.array(products) @ p["hidden"] + p["hidden_bias"]
            of_pair = (hidden * expit(hidden)) @ p["output"] + p["output_bias"]
            weights = normalized(gate(query, "query_gate") + gate(item, "item_gate") + of_pair)
            scores[row, column] = weights @ products + query[DIM:] @ item[DIM:]
    return scores


@pytest.mark.parametrize("temperature", [None, 0.3])
@pytest.mark.parametrize("name", some_slow(PLAIN, "hstu", "lru", "nextitnet", "bert4rec"))
def test_scores_are_those_of_the_paper(name, temperature):
    """Scores of the catalog and of candidates; families with item biases add them."""
    model, params, h, e = mixed(name, temperature)
    assert h.shape[1] == e.shape[1] == DIM + model.has_item_bias
    expected = scores_of_the_paper(params["params"]["head"], h, e, temperature)
    score = jax.jit(lambda p, items: (model.apply(p, QUERY, method="score_catalog"), model.apply(p, QUERY, items)))
    items = np.array([[4, 0, 10], [1, 1, 2], [9, 5, 3]])
    catalog, candidates = score(params, jnp.asarray(items))
    np.testing.assert_allclose(catalog, expected, rtol=2e-4, atol=1e-5)
    np.testing.assert_allclose(candidates, np.take_along_axis(expected, items, axis=1), rtol=2e-4, atol=1e-5)
    assert not model.is_dot_product


def test_one_component_with_maps_that_change_nothing_is_the_cosine():
    model = PLAIN["sasrec"].clone(query_components=1, gate_units=UNITS, temperature=0.3)
    params = random_params(model)
    head = params["params"]["head"] | {name: {"kernel": jnp.eye(DIM)} for name in ("query_maps", "item_maps")}
    params = {"params": params["params"] | {"head": head}}
    cosine = PLAIN["sasrec"].clone(temperature=0.3)
    found, expected = (
        jax.jit(lambda p, model=model: model.apply(p, QUERY, method="score_catalog"))(params)
        for model in (model, cosine)
    )
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_rankings_are_exact():
    """The best items of every user, without those of the history, sorted by the scores of the paper."""
    model, params, h, e = mixed("sasrec", 0.3)
    user, place = np.nonzero(HISTORIES >= 0)
    seen = Interactions(user.astype(np.int32), HISTORIES[user, place], None, None, None, np.arange(3), np.arange(ITEMS))
    rows = QueryRows.for_users(np.arange(3), seen.histories)
    one = jax.tree.map(lambda x: x[None], params)
    ranked = Ranker(model, rows, 5, block=2)(one, jax.tree.map(lambda x: np.asarray([x], np.float32), hyper_of(model)))
    expected = scores_of_the_paper(params["params"]["head"], h, e, 0.3)
    expected[user, HISTORIES[user, place]] = -np.inf
    np.testing.assert_array_equal(ranked.items[0], np.argsort(-expected, axis=1)[:, :5])
    np.testing.assert_allclose(ranked.scores[0], -np.sort(-expected, axis=1)[:, :5], rtol=1e-4, atol=1e-5)


def test_items_get_components_from_features_and_new_ones_are_never_negatives():
    """Scores in training, where items without interactions, whose ids have vectors of zeros, are ruled out."""
    n_items, new = len(OF_ITEMS.categories), np.array([1, 3])
    plain = PLAIN["sasrec"].clone(n_items=n_items, item_features=True, item_sizes=OF_ITEMS.sizes, dropout=0.0)
    tables = FeatureTables(None, table(OF_ITEMS))
    model = with_tables(plain.clone(**MIXED, temperature=0.3), tables)
    params = random_params(model)
    ids = params["params"]["item_embedding"]["table"].at[new].set(0)
    params = {"params": params["params"] | {"item_embedding": {"table": ids}}}
    chunk = SequenceBatch(jnp.arange(2), jnp.array([[-1, 3, 0, 5], [1, 2, 2, 4]]), jnp.zeros((2, LENGTH), jnp.int32), 0)
    noise = Noise(jnp.zeros(2, jnp.uint32), jnp.arange(2), jnp.zeros(2, jnp.uint32))

    @jax.jit
    def training(params):
        h, vectors = encoded(model, params, chunk, noise)
        bound = with_tables(plain, tables).bind(params)
        return model.bind(params).comparison()(h[:, -1], vectors.T), bound.encode(chunk.items)[:, -1], bound.catalog()

    found, h, e = map(np.asarray, training(params))
    expected = scores_of_the_paper(params["params"]["head"], h, e, 0.3)
    expected[:, new] += MASKED_SCORE
    np.testing.assert_allclose(found, expected, rtol=2e-4, atol=1e-5)
