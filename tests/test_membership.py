"""The bit matrix against a dense one, at widths around its words of 32 bits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrec.data.interactions import Interactions
from jaxrec.errors import InputError
from jaxrec.membership import Membership, known, membership
from tests.slow import some_slow


def interactions(user: np.ndarray, item: np.ndarray, n_users: int, n_items: int) -> Interactions:
    ids = [np.broadcast_to(np.int64(0), n) for n in (n_users, n_items)]  # of any size, without using memory
    return Interactions(user.astype(np.int32), item.astype(np.int32), None, None, None, *ids)


@pytest.mark.parametrize("n_items", some_slow([1, 31, 32, 33, 64, 100], 1, 31, 64, 100))
def test_rows_against_a_dense_matrix(n_items):
    rng = np.random.default_rng(n_items)
    user, item = rng.integers(0, 5, 60), rng.integers(0, n_items, 60)  # with repeated pairs
    item[0] = n_items - 1
    plain = np.zeros((7, n_items), bool)  # users 5 and 6 have no items
    plain[user, item] = True
    rows = jnp.array([6, 0, 3, 3, int(user[0])])
    np.testing.assert_array_equal(membership(interactions(user, item, 7, n_items)).rows(rows, n_items), plain[rows])


def test_one_bit_per_pair_in_words_of_32():
    bits = membership(interactions(np.zeros(33, int), np.arange(33), 2, 33))
    np.testing.assert_array_equal(bits.words, [[2**32 - 1, 1], [0, 0]])


def test_the_error_above_4_gib_says_what_to_use_instead():
    """2^21 users and 2^15 items are 2^36 bits, 8 GiB; nothing is allocated."""
    nobody = np.zeros(0, int)
    with pytest.raises(InputError, match=r".* 2,097,152 x 32,768 \(8 GiB, limit 4 GiB\): use loss=sampled"):
        membership(interactions(nobody, nobody, 2**21, 2**15))


def test_the_limit_itself_is_allowed(monkeypatch):
    monkeypatch.setattr("jaxrec.membership.LIMIT_GIB", 8 / 2**30)  # two words of four bytes
    one = np.zeros(1, int)
    assert membership(interactions(one, one, 2, 32)).words.shape == (2, 1)
    with pytest.raises(InputError, match="use loss=sampled_softmax"):
        membership(interactions(one, one, 3, 32))


@pytest.mark.parametrize("bits_mib", [256, 0], ids=["bits", "rows"])
def test_known_pairs_are_those_of_the_data(bits_mib, monkeypatch):
    monkeypatch.setattr("jaxrec.membership.BITS_MIB", bits_mib)
    rng = np.random.default_rng(5)
    user, item = rng.integers(0, 6, 80), rng.integers(0, 40, 80)
    plain = np.zeros((7, 40), bool)
    plain[user, item] = True
    found = known(interactions(user, item, 7, 40))
    assert isinstance(found, Membership) == (bits_mib == 256)
    rows = jnp.array([6, 2, 0, 2])
    items = jnp.asarray(rng.integers(0, 40, (4, 30)))
    contains = jax.jit(found.contains)
    np.testing.assert_array_equal(contains(rows, items), plain[np.asarray(rows)[:, None], np.asarray(items)])
