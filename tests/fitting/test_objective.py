"""Objectives: costs by hand, and the two forms of the full softmax against each other."""

from dataclasses import replace
from math import exp, log, log1p

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrec.data.interactions import Interactions
from jaxrec.errors import InputError
from jaxrec.fitting.objective import CatalogObjective, SampledObjective
from jaxrec.losses import bce, bpr, softmax
from jaxrec.models.mf import MatrixFactorization
from jaxrec.models.model import Model
from jaxrec.negatives.candidates import Negatives
from jaxrec.negatives.popularity import Popularity
from jaxrec.negatives.sampler import Sampler
from jaxrec.negatives.uniform import Uniform
from jaxrec.query import Query

USERS, ITEMS = 5, 6
USER = np.array([3, 0, 0, 4, 3, 3, 1], np.int32)  # user 2 has no items
ITEM = np.array([5, 2, 0, 1, 0, 4, 5], np.int32)
TRAIN = Interactions(USER, ITEM, None, None, None, np.arange(USERS), np.arange(ITEMS))
SOURCE = jnp.zeros(2, jnp.uint32)


def model_and_params(regularization: float = 0.0) -> tuple[MatrixFactorization, dict]:
    model = MatrixFactorization(USERS, ITEMS, 3, regularization=regularization, init_std=1.0)
    init = jax.jit(lambda: model.init(jax.random.key(0), Query(jnp.zeros(1, jnp.int32)), jnp.zeros((1, 1), jnp.int32)))
    params = init()
    bias = jnp.linspace(-1, 1, ITEMS)
    return model, {"params": params["params"] | {"item_bias": {"table": bias}}}


def costs(
    objective, model: MatrixFactorization, params: dict, rows: list[int], penalized: bool = False
) -> tuple[jax.Array, jax.Array]:
    examples, _ = objective.examples(TRAIN)
    cost = jax.jit(lambda examples, params, rows: objective.costs(model, params, examples, rows, SOURCE, penalized))
    return cost(examples, params, jnp.array(rows))


def scores(params: dict) -> np.ndarray:
    tables = params["params"]
    p, q = (np.asarray(tables[t]["table"], np.float64) for t in ("user_embedding", "item_embedding"))
    return p @ q.T + np.asarray(tables["item_bias"]["table"])


def sampler(draw):
    """Return a sampler that draws by this function."""

    class Own(Sampler):
        def __call__(self, source, examples, n_items, n_negatives, given=None) -> Negatives:
            return draw(source, examples, n_items, n_negatives, given)

    return Own()


@sampler
def the_rest(source, rows, n_items, n_negatives, given) -> Negatives:
    """Return every item but the positive."""
    items = jnp.broadcast_to(jnp.arange(n_items)[None, :], (rows.shape[0], n_items))
    return Negatives(items, (items != jnp.asarray(ITEM)[rows][:, None]).astype(jnp.float32))


def always(*items: int):
    """Fixed negatives, of which the last does not count."""

    @sampler
    def draw(source, rows, n_items, n_negatives, given) -> Negatives:
        drawn = jnp.broadcast_to(jnp.array(items)[None, :], (rows.shape[0], len(items)))
        counts = (jnp.arange(len(items)) < len(items) - 1).astype(jnp.float32)
        return Negatives(drawn, jnp.broadcast_to(counts[None, :], drawn.shape))

    return draw


@pytest.mark.parametrize("loss", [bpr, bce, softmax], ids=lambda loss: loss.__name__)
def test_a_sampled_cost_by_hand(loss):
    """Items 1 and 3 count as negatives, item 0 does not; row 4 is user 3 with item 0, row 1 user 0 with item 2."""
    model, params = model_and_params()
    objective = SampledObjective(loss, always(1, 3, 0))
    assert objective.examples(TRAIN)[1] == 7
    cost, weight = costs(objective, model, params, [4, 1])
    np.testing.assert_array_equal(weight, 1)
    for row, (user, item) in enumerate([(3, 0), (0, 2)]):
        s = scores(params)[user]
        expected = {
            "bpr": (log1p(exp(s[1] - s[item])) + log1p(exp(s[3] - s[item]))) / 2,
            "bce": (log1p(exp(-s[item])) + log1p(exp(s[1])) + log1p(exp(s[3]))) / 3,
            "softmax": log(exp(s[item]) + exp(s[1]) + exp(s[3])) - s[item],
        }[loss.__name__]
        assert float(cost[row]) == pytest.approx(expected, rel=1e-5)


def test_the_penalty_of_a_sampled_example_is_that_of_the_user_and_the_mean_over_items():
    model, params = model_and_params(0.3)
    objective = SampledObjective(bpr, always(1, 3, 0))
    without, added = (costs(objective, model, params, list(range(7)), penalized)[0] for penalized in (False, True))
    p, q = (np.sum(np.asarray(params["params"][t]["table"]) ** 2, 1) for t in ("user_embedding", "item_embedding"))
    np.testing.assert_allclose(added - without, 0.3 * (p[USER] + (q[ITEM] + q[1] + q[3]) / 3), rtol=1e-4)


def test_full_softmax_examples_have_each_user_with_items_once():
    examples, n = CatalogObjective().examples(TRAIN)
    assert n == 4
    np.testing.assert_array_equal(examples.user, [0, 1, 3, 4])


def test_interactions_that_are_no_targets_are_examples_unless_a_history_shows_them():
    """With views and purchases, a model that reads no histories learns from the views as well."""
    train = replace(TRAIN, target=np.array([True, False, False, True, True, False, False]))
    sampled, catalog = SampledObjective(bpr, Uniform(1)), CatalogObjective()
    by_frequency = SampledObjective(bpr, Popularity(1))
    for length, items in ((0, ITEM.tolist()), (2, [5, 1, 0])):
        pairs, n = sampled.examples(train, length)
        assert (n, pairs.item.tolist()) == (len(items), items)
        frequency = np.bincount(items, minlength=ITEMS) ** Popularity.power
        tables = by_frequency.examples(train, length)[0].tables
        np.testing.assert_allclose(np.exp(tables.log_q), frequency / frequency.sum(), rtol=1e-6)
    users = [0, 3]
    chosen = [catalog.examples(train, length)[0].items.rows(jnp.array(users), ITEMS) for length in (0, 2)]
    assert [np.flatnonzero(row).tolist() for row in chosen[0]] == [[0, 2], [0, 4, 5]]
    assert [np.flatnonzero(row).tolist() for row in chosen[1]] == [[], [0, 5]]


def test_the_share_of_a_history_is_that_of_its_items():
    """Of 4,000 items a fifth is 800, with a standard deviation of 25; a repeated item is shown twice or not at all."""
    items = np.concatenate([np.arange(4000), np.arange(4000)]).astype(np.int32)
    train = Interactions(np.zeros(8000, np.int32), items, None, None, None, np.arange(1), np.arange(4000))
    examples, _ = CatalogObjective().examples(train, 8000)
    row = jnp.zeros(1, jnp.int32)
    shown = [np.asarray(examples.query(row, 8000, share, SOURCE).history.items[0]) for share in (0.2, 1.0)]
    np.testing.assert_array_equal(shown[0][:4000], shown[0][4000:])
    assert 700 < np.count_nonzero(shown[0][:4000] >= 0) < 900
    np.testing.assert_array_equal(shown[1], items)


class Reader(Model):
    """Reads histories and has the same scores for all of them."""

    n_users: int = USERS
    n_items: int = ITEMS
    history_length: int = 3

    def score_catalog(self, query):
        return jnp.broadcast_to(jnp.arange(ITEMS) / 2, (len(query.user), ITEMS))


def test_items_shown_as_history_are_neither_targets_nor_negatives():
    objective, model, rows = CatalogObjective(), Reader(), jnp.arange(4)
    examples, _ = objective.examples(TRAIN, 3)
    shown = np.asarray(examples.query(rows, 3, 0.5, SOURCE).history.items)
    cost, weight = objective.costs(model, {}, examples, rows, SOURCE, False)
    n_both = 0
    for row, user in enumerate((0, 1, 3, 4)):
        history, own = set(shown[row].tolist()), set(ITEM[user == USER].tolist())
        targets, others = own - history, [item for item in range(ITEMS) if item not in history]
        expected = sum(log(sum(exp(item / 2) for item in others)) - target / 2 for target in targets)
        assert float(cost[row]) == pytest.approx(expected, rel=1e-5)
        assert float(weight[row]) == len(targets)
        n_both += 0 < len(targets) < len(own)
    assert n_both  # of this user, items are shown and others are to be found


def test_the_full_softmax_equals_the_sampled_one_with_all_negatives():
    """Cost, weight and gradient, summed over the data."""
    model, params = model_and_params()
    sampled, catalog = SampledObjective(softmax, the_rest), CatalogObjective()

    def total(objective):
        examples, n = objective.examples(TRAIN)

        def of_params(params):
            cost, weight = objective.costs(model, params, examples, jnp.arange(n), SOURCE, False)
            return jnp.sum(cost), jnp.sum(weight)

        return jax.jit(jax.value_and_grad(of_params, has_aux=True))(params)

    (one, weight), gradient = total(sampled)
    (other, other_weight), other_gradient = total(catalog)
    s = scores(params)
    expected = sum(np.log(np.exp(s[u]).sum()) - s[u, i] for u, i in zip(USER, ITEM, strict=True))
    assert float(one) == pytest.approx(expected, rel=1e-5)
    assert float(other) == pytest.approx(expected, rel=1e-5)
    assert float(weight) == float(other_weight) == 7
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), gradient, other_gradient)


def test_the_penalty_of_the_full_softmax_counts_user_and_item_once_an_interaction():
    model, params = model_and_params(0.3)
    without, added = (
        costs(CatalogObjective(), model, params, [0, 1, 2, 3], penalized)[0] for penalized in (False, True)
    )
    p, q = (np.sum(np.asarray(params["params"][t]["table"]) ** 2, 1) for t in ("user_embedding", "item_embedding"))
    expected = [sum(p[user] + q[i] for i in ITEM[user == USER]) for user in (0, 1, 3, 4)]
    np.testing.assert_allclose(added - without, 0.3 * np.array(expected), rtol=1e-4)


def shared(*items: int, log_q: jax.Array | None = None):
    """The same negatives for every example, except its own item."""

    @sampler
    def draw(source, rows, n_items, n_negatives, given) -> Negatives:
        drawn = jnp.array([items])
        return Negatives(drawn, (drawn != given.positive[:, None]).astype(jnp.float32), log_q)

    return draw


@pytest.mark.parametrize("penalized", [False, True])
@pytest.mark.slow
def test_shared_negatives_have_the_cost_of_separate_ones(penalized):
    """The matrix product against gathers: values and gradients."""
    model, params = model_and_params(0.3)

    @sampler
    def apart(source, rows, n_items, n_negatives, given) -> Negatives:
        found = shared(1, 3, 0)(source, rows, n_items, n_negatives, given)
        return found._replace(items=jnp.broadcast_to(found.items, found.used.shape))

    found = []
    for negatives in (shared(1, 3, 0), apart):
        total = lambda params, negatives=negatives: costs(  # noqa: E731
            SampledObjective(softmax, negatives), model, params, list(range(7)), penalized
        )[0].sum()
        found.append(jax.jit(jax.value_and_grad(total))(params))
    assert float(found[0][0]) == pytest.approx(float(found[1][0]), rel=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), found[0][1], found[1][1])


@pytest.mark.parametrize("corrected", [False, True])
def test_log_q_correction_subtracts_log_q_from_every_score(corrected):
    model, params = model_and_params()
    log_q = jnp.log(jnp.array([0.3, 0.1, 0.25, 0.05, 0.2, 0.1]))
    cost, _ = costs(SampledObjective(softmax, shared(1, 3, log_q=log_q), corrected=corrected), model, params, [4, 1])
    for row, (user, item) in enumerate([(3, 0), (0, 2)]):
        s = scores(params)[user] - np.asarray(log_q) * corrected
        assert float(cost[row]) == pytest.approx(log(exp(s[item]) + exp(s[1]) + exp(s[3])) - s[item], rel=1e-5)


def test_the_full_softmax_refuses_weights():
    CatalogObjective().examples(replace(TRAIN, weight=np.ones(len(USER), np.float32)))
    weight = np.where(np.arange(len(USER)) == 2, 0.5, 1).astype(np.float32)
    with pytest.raises(InputError, match="choose loss=sampled_softmax"):
        CatalogObjective().examples(replace(TRAIN, weight=weight))
