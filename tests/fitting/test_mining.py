"""Hard-negative mining in training: against numpy, in a pool, and the same for a member alone."""

import jax
import numpy as np
import pytest

from jaxrec.data.interactions import Interactions
from jaxrec.fitting.gradient import GradientFit
from jaxrec.fitting.mining import Miner, nothing_mined
from jaxrec.fitting.objective import SampledObjective
from jaxrec.fitting.optimizers import adam
from jaxrec.fitting.population import Population
from jaxrec.hyper import Hyper
from jaxrec.losses import bce
from jaxrec.models.mf import MatrixFactorization
from jaxrec.negatives.hard import Hard

USERS, ITEMS, N = 20, 60, 150
RNG = np.random.default_rng(2)
USER = np.concatenate([np.arange(USERS), RNG.integers(0, USERS, N - USERS)]).astype(np.int32)
ITEM = RNG.integers(0, ITEMS, N).astype(np.int32)
TRAIN = Interactions(USER, ITEM, None, None, None, np.arange(USERS), np.arange(ITEMS))
MODEL = MatrixFactorization(USERS, ITEMS, 4, init_std=1.0)


def population(n: int) -> Population:
    numbers = {"optimizer.learning_rate": np.full(n, 0.05, np.float32), "negatives.n_negatives": np.full(n, 2)}
    return Population(np.arange(3, 3 + n), Hyper(numbers))


def fit(n: int, hard: Hard, epochs: int):
    objective = SampledObjective(bce, hard)
    return GradientFit(objective=objective, optimizer=adam, epochs=epochs, batch_size=64)(MODEL, TRAIN, population(n))


def mine(miner: Miner, epoch: int, members: Population, params: dict) -> np.ndarray:
    at = np.full(members.size, epoch)
    return miner(at, members.seeds, params, members.hyper, np.ones(members.size, bool))


@pytest.fixture(scope="module")
def params() -> dict:
    return fit(2, Hard(ranks=(1, 5)), 1).params


@pytest.mark.parametrize("pool", [None, 25])
def test_mined_negatives_are_ranks_of_items_the_user_does_not_have(params, pool):
    miner = Miner(Hard(ranks=(3, 7), pool=pool), MODEL, TRAIN)
    mined = np.asarray(mine(miner, 4, population(2), params))
    assert mined.shape == (2, USERS, 5)
    for member, seed in enumerate((3, 4)):
        tables = jax.tree.map(lambda x: np.asarray(x[member], np.float64), params)["params"]  # noqa: B023
        scores = tables["user_embedding"]["table"] @ tables["item_embedding"]["table"].T + tables["item_bias"]["table"]
        scores[USER, ITEM] = -np.inf
        if pool is not None:
            inside = np.random.default_rng([seed, 4]).permutation(ITEMS)[:pool]
            scores[:, np.setdiff1d(np.arange(ITEMS), inside)] = -np.inf
        np.testing.assert_array_equal(mined[member], np.argsort(-scores, axis=1, kind="stable")[:, 2:7])


def test_epochs_in_which_negatives_are_mined():
    miner = Miner(Hard(ranks=(1, 5), warmup=2, refresh=3), MODEL, TRAIN)
    assert [epoch for epoch in range(11) if miner.due(epoch)] == [3, 6, 9]
    assert (nothing_mined(USERS, 5) == np.full((USERS, 5), -1)).all()


@pytest.mark.slow
def test_a_member_mines_and_trains_as_it_would_alone():
    hard = Hard(ratio=2, ranks=(1, 5), warmup=1, refresh=2, share=1.0, pool=30)
    together, alone = fit(2, hard, 4), fit(1, hard, 4)
    for wide, one in zip(jax.tree.leaves(together.params), jax.tree.leaves(alone.params), strict=True):
        np.testing.assert_allclose(wide[0], one[0], rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_training_lowers_the_scores_of_mined_negatives():
    """A model trained with its top ranks as negatives lowers their scores."""
    warm = fit(1, Hard(ratio=2, ranks=(1, 5), warmup=4), 4)
    mined = np.asarray(mine(Miner(Hard(ranks=(1, 5)), MODEL, TRAIN), 5, population(1), warm.params))[0]
    after = {
        share: fit(1, Hard(ratio=2, ranks=(1, 5), warmup=4, share=share), 8).params["params"] for share in (0.0, 1.0)
    }

    def of_mined(tables) -> float:
        p, q, b = (np.asarray(tables[name]["table"][0]) for name in ("user_embedding", "item_embedding", "item_bias"))
        return float(np.mean([(q[mined[u]] @ p[u] + b[mined[u]]).mean() for u in range(USERS)]))

    assert of_mined(after[1.0]) < of_mined(after[0.0]) - 0.5
