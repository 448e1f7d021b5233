"""Every split in conf/split keeps every promise made for splits. New yaml files are tested automatically."""

import numpy as np
import pandas as pd
import pytest

from jaxrec import settings
from jaxrec.data.interactions import Interactions, encode
from jaxrec.data.reading.times import DAY
from jaxrec.data.splits.split import Split
from jaxrec.errors import InputError
from tests.paths import ROOT

SPLITS = sorted(path.stem for path in (ROOT / "conf" / "split").glob("*.yaml"))
IN_TIME = {"global_time", "rolling", "sessions"}  # no training row is newer than a held-out row
IN_TIME_BY_USER = {"leave_one_out"}  # the same within each user
SETTINGS = {"sessions": ("split.validation_days=4", "split.test_days=4")}


def data(name: str, n_users: int = 40, n_rows: int = 1200) -> Interactions:
    """Interactions with 60 items in 30 days, some repeated; the value identifies the row."""
    rng = np.random.default_rng(5)
    frame = pd.DataFrame({"user_id": rng.integers(0, n_users, n_rows), "item_id": rng.integers(0, 60, n_rows)})
    frame["time"] = np.sort(rng.integers(0, 30 * DAY, n_rows))
    if name == "sessions":  # of a few rows in one hour
        frame["time"] = frame["time"] // DAY * DAY + rng.integers(0, DAY // 24, n_rows)
    if name == "given":
        frame["part"] = np.where(np.arange(len(frame)) < 0.8 * len(frame), 0, 2).astype(np.int8)
    frame["value"] = np.arange(len(frame), dtype=np.float32)
    return encode(frame, name="drawn")


@pytest.fixture(scope="module", params=SPLITS)
def made(request, compose):
    """`made(interactions=…, seed=…)`: the split of one yaml; `made.name` says which."""
    tree = compose(f"split={request.param}", *SETTINGS.get(request.param, ()))

    def split(source: Interactions | None = None, **values) -> Split:
        node = {**tree["split"], **values}
        return settings.build(node, interactions=data(request.param) if source is None else source)

    split.name, split.settings = request.param, tree["split"]
    return split


def held_out(split: Split) -> list[Interactions]:
    assert split.selection.validation is not None
    return [split.selection.validation.target, split.test.target]


def rows(*parts: Interactions) -> list[float]:
    return np.concatenate([part.value for part in parts]).tolist()


def test_no_row_is_in_two_parts(made):
    split = made()
    together = rows(split.selection.train, *held_out(split))
    assert len(set(together)) == len(together)
    assert all(len(part) for part in held_out(split))


def test_targets_are_not_known(made):
    split = made()
    assert split.selection.validation is not None
    for held in (split.selection.validation, split.test):
        assert not set(held.known.value.tolist()) & set(held.target.value.tolist())
        if held.order is None:
            pairs = [set(zip(p.user.tolist(), p.item.tolist(), strict=True)) for p in (held.known, held.target)]
            assert not pairs[0] & pairs[1]
    assert not set(rows(split.selection.train, split.selection.validation.known)) & set(rows(split.test.target))


def test_every_row_is_in_the_split_or_counted_as_dropped(made):
    """A row is in train, a target, or known at a target."""
    source, split = data(made.name), made()
    assert split.selection.validation is not None
    held = split.selection.validation, split.test
    used = set(rows(split.selection.train, *(p for part in held for p in (part.known, part.target))))
    assert used <= set(source.value.tolist())
    dropped = sum(n for key, n in split.notes.items() if key.endswith(("_dropped", "_already_known")) and key[0] != "s")
    missing = len(source) - len(used)
    if "sessions_too_short_dropped" in split.notes:  # counted in sessions, of one row or, cut, of more
        assert missing >= dropped
        assert missing - dropped <= 3 * split.notes["sessions_too_short_dropped"]
        assert split.notes["sessions_too_short_dropped"] or missing == dropped
    else:
        assert missing == dropped


def test_notes_count_evaluated_users(made):
    split = made()
    validation, test = held_out(split)
    assert split.notes["users_with_validation"] == len(set(validation.user.tolist()))
    assert split.notes["users_with_test"] == len(set(test.user.tolist()))
    train = split.selection.train
    assert split.notes["test_items_not_in_train"] == len(set(test.item.tolist()) - set(train.item.tolist()))
    assert split.notes["test_users_not_in_train"] == len(set(test.user.tolist()) - set(train.user.tolist()))
    assert split.notes["test_before_last_train"] == (test.time < train.time.max()).mean()


def test_training_data_precedes_held_out_data(made):
    """In the whole data or within each user; other splits note how much of the test is older than train."""
    split = made()
    validation, test = held_out(split)
    train = split.selection.train
    if made.name in IN_TIME:
        assert train.time.max() <= validation.time.min()
        assert validation.time.max() <= test.time.min()
        assert split.notes["test_before_last_train"] == 0
    elif made.name in IN_TIME_BY_USER:
        for user in set(test.user.tolist()):
            times = [part.time[part.user == user] for part in (train, validation, test)]
            in_order = np.concatenate([np.sort(time) for time in times])
            assert (np.diff(in_order) >= 0).all()


def test_the_seed_sets_the_split(made):
    one, again = made(), made()
    assert rows(*held_out(one)) == rows(*held_out(again))
    if "seed" in made.settings:
        assert rows(*held_out(one)) != rows(*held_out(made(seed=made.settings["seed"] + 1)))


@pytest.mark.parametrize("n_rows", [0, 1])
def test_data_that_is_too_small_is_one_clear_error(made, n_rows):
    """No rows, and one user with one row."""
    source = data(made.name).take(np.arange(n_rows))
    with pytest.raises(InputError) as error:
        made(source)
    assert "\n" not in str(error.value)
    assert any(
        reason in str(error.value)
        for reason in (
            "no user has",
            "no interaction lies",
            "no training data left",
            "no data to split",
            "leave no training data",
            "no session",
        )
    )
