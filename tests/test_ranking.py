"""The blockwise Ranker against a loop over users in numpy."""

import math
import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrec import backend
from jaxrec.blockwise import Blockwise
from jaxrec.data.histories import UserHistories
from jaxrec.hyper import Hyper
from jaxrec.models import Model, Pairwise
from jaxrec.models.mf import MatrixFactorization
from jaxrec.query import Query
from jaxrec.ranking import QueryRows, Ranker, query_of, scorer
from jaxrec.top_k import GROUP
from tests.slow import some_slow

USERS, ITEMS, K = 23, 40, 7


class Table(Model):
    """Model whose scores are a table."""

    n_users: int = USERS
    n_items: int = ITEMS

    def setup(self) -> None:
        self.scores = self.param("scores", nn.initializers.zeros, (self.n_users, self.n_items))

    def score_catalog(self, query: Query) -> jax.Array:
        return self.scores[query.user]


def best(scores: np.ndarray, k: int) -> np.ndarray:
    """Return the positions of the k largest of each row, ties in order of position."""
    return np.argsort(-scores, axis=1, kind="stable")[:, :k]


def known_lists() -> tuple[np.ndarray, np.ndarray]:
    """Random known items; user 5 has only four items left, user 6 none, user 7 no known items, the last user many."""
    rng = np.random.default_rng(1)
    lists = [rng.permutation(ITEMS)[: rng.integers(0, 12)] for _ in range(USERS)]
    lists[5], lists[6], lists[7], lists[-1] = np.arange(36), np.arange(ITEMS), np.arange(0), np.arange(1, 30)
    return np.cumsum([0, *map(len, lists)]), np.concatenate(lists)


def brute_force(scores: np.ndarray, k: int, excluded: bool) -> tuple[np.ndarray, np.ndarray]:
    offsets, known = known_lists()
    scores = scores.copy()
    if excluded:
        for user in range(len(scores)):
            scores[user, known[offsets[user] : offsets[user + 1]]] = -np.inf
    items = best(scores, k)
    values = np.take_along_axis(scores, items, axis=1)
    return np.where(values > -np.inf, items, -1), values


@pytest.mark.parametrize("excluded", some_slow([True, False], False))
@pytest.mark.parametrize(("n_members", "block"), [(1, 4), (2, None), (3, 5), (3, 100)])
def test_lists_of_every_member_against_a_loop(n_members, block, excluded):
    """Two devices: users of one member are split over them, two members have one each, three share both."""
    tables = np.random.default_rng(0).integers(0, 15, (n_members, USERS, ITEMS)).astype(np.float32)
    asked = QueryRows.for_users(np.arange(USERS), UserHistories(*known_lists()))
    ranked = Ranker(Table(), asked, K, block=block, exclude_known=excluded)({"params": {"scores": tables}}, Hyper())
    for member in range(n_members):
        items, values = brute_force(tables[member], K, excluded)
        np.testing.assert_array_equal(ranked.items[member], items)
        np.testing.assert_array_equal(ranked.scores[member], values)
    left = (np.asarray(ranked.items)[:, 5:8] >= 0).sum(axis=2)
    assert (left == ([4, 0, K] if excluded else [K] * 3)).all()


@pytest.mark.parametrize("heavy", [0, 9, USERS - 1])
def test_a_block_has_room_for_all_known_items_of_its_users(heavy):
    """One user has 30 known items, all others one."""
    lists = [np.arange(30) if user == heavy else np.array([1]) for user in range(USERS)]
    known = UserHistories(np.cumsum([0, *map(len, lists)]), np.concatenate(lists))
    ranker = Ranker(Table(), QueryRows.for_users(np.arange(USERS), known), ITEMS, block=4)
    table = np.zeros((1, USERS, ITEMS), np.float32)
    left = [set(row.tolist()) - {-1} for row in np.asarray(ranker({"params": {"scores": table}}, Hyper()).items[0])]
    assert left == [set(range(ITEMS)) - set(own.tolist()) for own in lists]


def test_lists_are_in_the_order_of_the_query_rows():
    table = np.random.default_rng(2).random((1, USERS, ITEMS)).astype(np.float32)
    users = np.array([20, 3, 3, 11])
    nothing = UserHistories(np.zeros(USERS + 1, int), np.zeros(0, int))
    ranked = Ranker(Table(), QueryRows.for_users(users, nothing), ITEMS, block=3)(
        {"params": {"scores": table}}, Hyper()
    )
    np.testing.assert_array_equal(ranked.items[0], best(table[0][users], ITEMS))


def test_one_ranker_ranks_several_parameters_and_populations():
    rng = np.random.default_rng(3)
    ranker = Ranker(Table(), QueryRows.for_users(np.arange(USERS), UserHistories(*known_lists())), K)
    for n_members in (1, 2, 1):
        tables = rng.random((n_members, USERS, ITEMS)).astype(np.float32)
        items = ranker({"params": {"scores": tables}}, Hyper()).items
        np.testing.assert_array_equal(items, [brute_force(table, K, True)[0] for table in tables])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_scores_that_are_not_finite_mark_the_member(bad):
    """One score of one user and one member, for a known item that would not be listed."""
    tables = np.zeros((2, USERS, ITEMS), np.float32)
    tables[1, USERS - 1, 5] = bad
    ranker = Ranker(Table(), QueryRows.for_users(np.arange(USERS), UserHistories(*known_lists())), K, block=4)
    assert ranker({"params": {"scores": tables}}, Hyper()).finite.tolist() == [True, False]


@pytest.mark.slow
def test_memory_is_a_block_and_never_users_times_items():
    """Checks all shapes in the text of the compiled program; no other size is a multiple of 1,009 or 2,003."""
    n_users, n_items, block = 1009, 2003, 16
    model = MatrixFactorization(n_users, n_items, 2)
    known = UserHistories(np.arange(n_users + 1), np.arange(n_users) % n_items)
    ranker = Ranker(model, QueryRows.for_users(np.arange(n_users), known), 5, block=block)
    nobody = Query(jnp.zeros(1, jnp.int32)), jnp.zeros((1, 1), jnp.int32)
    params = jax.tree.map(
        lambda x: np.zeros((1, *x.shape), x.dtype), jax.eval_shape(model.init, jax.random.key(0), *nobody)
    )
    program, put = ranker.blockwise.compile(1, Hyper())
    compiled = program.lower(*put((params, None), Hyper(), np.ones(1, bool))).compile()
    shapes = re.findall(r"\b[a-z]+\d+\[([\d,]+)\]", compiled.as_text())
    largest = max(math.prod(map(int, shape.split(","))) for shape in shapes)
    assert block * n_items <= largest <= block * (n_items + GROUP)  # padded to whole groups
    assert compiled.memory_analysis().temp_size_in_bytes < 4 * n_users * n_items / 4


def test_a_query_has_a_history_of_the_length_of_the_model():
    users = np.array([1, 0, 2])
    asked = QueryRows.for_users(users, UserHistories(np.array([0, 3, 3, 4]), np.array([4, 5, 6, 7])))
    assert query_of(Table(), asked).history is None

    class Sequence(Table):
        history_length: int = 2

    query = query_of(Sequence(), asked)
    np.testing.assert_array_equal(query.user, users)
    np.testing.assert_array_equal(query.history.items, [[-1, -1], [5, 6], [-1, 7]])


class Parts(Table, Pairwise):
    """Computes item parts separately, and declares many numbers per scored pair."""

    pair_floats: int = 1

    def item_parts(self) -> jax.Array:
        return 2 * self.scores

    def score_parts(self, query: Query, parts: jax.Array) -> jax.Array:
        return parts[query.user]


@pytest.mark.parametrize("model", [Table(), Parts()], ids=["catalog", "parts"])
def test_scores_of_a_pool_equal_those_of_the_catalog(model):
    scores = np.random.default_rng(4).normal(size=(USERS, ITEMS)).astype(np.float32)
    query, pool = Query(jnp.array([3, 0], jnp.int32)), jnp.array([9, 2, 30], jnp.int32)
    params = {"params": {"scores": jnp.asarray(scores)}}
    whole = scorer(model, params, None)(query)
    np.testing.assert_array_equal(scorer(model, params, pool)(query), np.asarray(whole)[:, [9, 2, 30]])


def test_on_accelerators_blocks_are_smaller_for_models_with_more_numbers_per_pair(monkeypatch):
    """2^21 numbers per block, shared by its users; at least one user, and equal blocks of the 2,000 on a device."""
    nothing = UserHistories(np.zeros(4001, int), np.zeros(0, np.int32))
    asked = QueryRows.for_users(np.arange(4000), nothing)
    assert Ranker(Parts(4000, 1024, 16), asked, 1)._block == 2000
    monkeypatch.setattr(backend, "platform", lambda: "gpu")
    for n_items, floats, users in (
        (1024, 1, 2000),
        (1024, 16, 125),
        (1024, 4096, 1),
        (1 << 20, 1, 8),
        (1 << 20, 4, 2),
    ):
        assert Ranker(Parts(4000, n_items, floats), asked, 1)._block == users


def test_item_parts_are_computed_once_and_used():
    scores = np.random.default_rng(0).normal(size=(USERS, ITEMS)).astype(np.float32)
    nothing = UserHistories(np.zeros(USERS + 1, int), np.zeros(0, np.int32))
    ranker = Ranker(Parts(), QueryRows.for_users(np.arange(USERS), nothing), K, block=4)
    ranked = ranker({"params": {"scores": jnp.asarray(scores)[None]}}, Hyper())
    np.testing.assert_array_equal(ranked.items[0], best(scores, K))
    np.testing.assert_allclose(ranked.scores[0], 2 * np.sort(scores, axis=1)[:, ::-1][:, :K], rtol=1e-6)


def test_blocks_are_halved_when_memory_runs_out(monkeypatch, caplog):
    scores = np.random.default_rng(0).normal(size=(USERS, ITEMS)).astype(np.float32)
    nothing = UserHistories(np.zeros(USERS + 1, int), np.zeros(0, np.int32))
    ranker = Ranker(Parts(), QueryRows.for_users(np.arange(USERS), nothing), K, block=4)
    params, call = {"params": {"scores": jnp.asarray(scores)[None]}}, Blockwise.__call__

    def of_small_blocks(stream, *arguments):
        if stream.block > 1:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: out of memory allocating 8 bytes")
        return call(stream, *arguments)

    monkeypatch.setattr(Blockwise, "__call__", of_small_blocks)
    np.testing.assert_array_equal(ranker(params, Hyper()).items[0], best(scores, K))
    assert [record.getMessage().split(":")[1] for record in caplog.records] == [
        " 2 rows at a time from here on",
        " 1 rows at a time from here on",
    ]


def test_other_errors_of_a_device_are_not_hidden(monkeypatch):
    def broken(stream, *arguments):
        raise jax.errors.JaxRuntimeError("INTERNAL: broken")

    nothing = UserHistories(np.zeros(USERS + 1, int), np.zeros(0, np.int32))
    ranker = Ranker(Parts(), QueryRows.for_users(np.arange(USERS), nothing), K, block=4)
    monkeypatch.setattr(Blockwise, "__call__", broken)
    with pytest.raises(jax.errors.JaxRuntimeError, match="broken"):
        ranker({"params": {"scores": jnp.zeros((1, USERS, ITEMS))}}, Hyper())
