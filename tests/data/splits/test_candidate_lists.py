from collections import Counter
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given as drawn
from hypothesis import settings
from hypothesis import strategies as st

from jaxrec.data.interactions import Interactions
from jaxrec.data.splits import candidate_lists
from jaxrec.data.splits.candidate_lists import draw_candidates, read_candidates
from jaxrec.data.splits.split import HeldOut
from jaxrec.errors import InputError


def held(known: list[tuple[int, int]], ground_truth: list[tuple[int, int]], n_users=6, n_items=12, ids=None) -> HeldOut:
    def part(pairs: list[tuple[int, int]]) -> Interactions:
        user, item = np.array(pairs, np.int32).reshape(-1, 2).T
        return Interactions(user, item, None, None, None, *(ids or (np.arange(n_users), np.arange(n_items))))

    return HeldOut(part(known), part(ground_truth))


PAIRS = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 11)), max_size=40)


@settings(deadline=None, max_examples=25, database=None)
@drawn(PAIRS, PAIRS.filter(len), st.integers(1, 12), st.integers(0, 3))
def test_sampled_candidates_are_distinct_and_neither_known_nor_targets(known, ground_truth, n, seed):
    taken = {user: {item for owner, item in known + ground_truth if owner == user} for user in range(6)}
    asked = sorted({user for user, _ in ground_truth})
    offsets, items = draw_candidates(held(known, ground_truth), n, seed)
    for user in range(6):
        drawn_items = items[offsets[user] : offsets[user + 1]].tolist()
        assert len(drawn_items) == (min(n, 12 - len(taken[user])) if user in asked else 0)
        assert len(set(drawn_items)) == len(drawn_items)
        assert set(drawn_items) <= set(range(12)) - taken[user]
    assert np.array_equal(items, draw_candidates(held(known, ground_truth), n, seed)[1])


def test_all_sets_of_candidates_are_equally_likely(monkeypatch):
    """3,000 users in three blocks draw 2 of the same 4 items: each of 6 sets 500 times, with a deviation of 20."""
    monkeypatch.setattr(candidate_lists, "USERS_AT_A_TIME", 1100)
    n_users = 3000
    known = [(user, item) for user in range(n_users) for item in (0, 3, 11)]
    source = held(known, [(user, 5) for user in range(n_users)], n_users=n_users, n_items=8 + 4)
    source = HeldOut(
        source.known.joined(held([(u, i) for u in range(n_users) for i in (1, 7, 8, 9)], [], n_users).known),
        source.target,
    )
    _, items = draw_candidates(source, 2, seed=0)
    counts = Counter(frozenset(pair) for pair in items.reshape(n_users, 2).tolist())
    assert set(counts) == {frozenset(pair) for pair in ((2, 4), (2, 6), (2, 10), (4, 6), (4, 10), (6, 10))}
    assert max(abs(count - 500) for count in counts.values()) < 80
    assert not np.array_equal(items, draw_candidates(source, 2, seed=1)[1])


def test_items_that_were_only_viewed_may_be_candidates():
    viewed = held([(0, item) for item in range(12)], [(0, 5)])
    viewed = replace(viewed, known=replace(viewed.known, target=np.arange(12) == 3))  # all but one were bought
    _, items = draw_candidates(viewed, 12, seed=0)
    assert sorted(items) == [0, 1, 2, 4, *range(6, 12)]


IDS = np.array(["u", "v", "w"], object), np.array([30, 10, 20])


@pytest.mark.parametrize("suffix", ["csv", "tsv", "parquet"])
def test_files_contain_original_ids(tmp_path, suffix):
    frame = pd.DataFrame({"who": ["v", "u", "v", "v", "stranger"], "what": [20, 10, 30, 20, 30]})
    path = tmp_path / f"candidates.{suffix}"
    if suffix == "parquet":
        frame.to_parquet(path)
    else:
        frame.to_csv(path, sep="\t" if suffix == "tsv" else ",", index=False)
    source = held([], [(0, 2), (1, 1)], ids=IDS)
    offsets, items = read_candidates(path, source, user_column="who", item_column="what")
    assert offsets.tolist() == [0, 1, 3, 3]
    assert items.tolist() == [1, 0, 2]  # each once, sorted
    ids = IDS[0], np.array(["30", "10", "20"], object)  # text, as if another id were not a number
    as_text = held([], [(0, 2), (1, 1)], ids=ids)
    assert read_candidates(path, as_text, user_column="who", item_column="what")[1].tolist() == [1, 0, 2]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("who,what\nu,10\n", "has no candidates for user v, who has held-out items \\(1 such users\\)"),
        ("who,what\nu,10\nv,99\n", "item 99 is not in the data \\(1 such rows\\)"),
        ("who,what\nu,10\n,20\n", "eval.user_column=who: line 3 of .* has no id"),
        ("user,item\nu,10\n", "no column 'who'.*set eval.user_column"),
    ],
)
def test_missing_columns_and_rows_are_named(tmp_path, text, message):
    path = tmp_path / "candidates.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_candidates(path, held([], [(0, 2), (1, 1)], ids=IDS), user_column="who", item_column="what")


def test_a_missing_file_names_its_key(tmp_path):
    with pytest.raises(InputError, match=r"check eval\.path"):
        read_candidates(tmp_path / "no.csv", held([], [(0, 1)]), user_column="who", item_column="what")
