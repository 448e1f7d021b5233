"""Mined negatives in a file: contents, completeness, and training on them."""

import numpy as np
import pandas as pd
import pytest

from jaxrec import experiment, launch, recommend, rundir, settings
from jaxrec.errors import InputError
from jaxrec.recommend import mining
from tests.planted import PLANTED
from tests.slow import some_slow


@pytest.fixture(scope="module")
def run(compose, tmp_path_factory):
    """A run on planted data, and its data."""
    directory = tmp_path_factory.mktemp("run")
    tree = compose(*PLANTED, "trainer.epochs=2", "trainer.batch_size=512", "optimizer.learning_rate=0.02")
    result = launch.run(tree, directory)
    return directory, result


def had(result) -> set:
    return set(zip(result.known.user_ids[result.known.user], result.known.item_ids[result.known.item], strict=True))


@pytest.mark.parametrize("suffix", some_slow(["csv", "parquet"], "parquet"))
def test_the_file_has_the_history_and_the_requested_ranks(run, tmp_path, suffix, monkeypatch):
    monkeypatch.setattr(mining, "USERS_AT_A_TIME", 128)
    directory, result = run
    out = tmp_path / f"negatives.{suffix}"
    counts = mining.mine(directory, out, (3, 12), per_user=4)
    table = pd.read_csv(out) if suffix == "csv" else pd.read_parquet(out)
    assert list(table) == ["user_id", "item_id", "score", "rank", "label"]
    history, mined = table[table.label == 1], table[table.label == 0]
    assert counts == {"history": len(history), "mined": len(mined)}
    assert set(zip(history.user_id, history.item_id, strict=True)) == had(result)
    assert history["rank"].isna().all()
    assert (mined.user_id.value_counts() == 4).all()
    assert mined.user_id.nunique() == 300
    model = recommend.load(directory)
    best = model.recommend(model.user_ids, k=12)
    expected = mined.merge(best, on=["user_id", "item_id"], suffixes=("", "_expected"))
    assert len(expected) == len(mined)
    assert (expected["rank"] == expected.rank_expected).all()
    assert expected["rank"].between(3, 12).all()
    assert set(expected["rank"]) == set(range(3, 13))
    np.testing.assert_allclose(expected.score, expected.score_expected, rtol=1e-5)
    np.testing.assert_allclose(history.score, model.score(history.user_id, history.item_id), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_all_ranks_contain_no_item_of_the_user(run, tmp_path):
    directory, result = run
    mining.mine(directory, tmp_path / "all.parquet", (1, 5), history=False)
    table = pd.read_parquet(tmp_path / "all.parquet")
    assert len(table) == 5 * 300
    assert not had(result) & set(zip(table.user_id, table.item_id, strict=True))


@pytest.mark.slow
def test_a_file_of_the_first_model_trains_a_second(run, tmp_path, compose):
    out = tmp_path / "sample2.parquet"
    mining.mine(run[0], out, (1, 5), per_user=3)
    tree = compose("data=files", f"data.path={out}", "data.label_column=label", "negatives=given", "trainer.epochs=2")
    settings.check(tree)
    split, _ = experiment.prepare(tree)
    train = split.selection.train
    assert len(train.negatives[0]) == 3 * 300
    ((_, shared, population),) = settings.populations([tree])
    assert np.isfinite(experiment.select(shared, split.selection, population).fit.history[0][-1]["loss"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"out": "negatives.txt"}, "the suffix must be"),
        ({"ranks": (1, 121)}, "from 1 to 120"),
        ({"ranks": (5, 4)}, "first and last"),
        ({"ranks": (1, 3), "per_user": 4}, "from 1 to 3"),
    ],
)
def test_impossible_settings_are_refused_and_nothing_is_written(run, tmp_path, change, message):
    given = {"out": "negatives.csv", **change}
    with pytest.raises(InputError, match=message):
        mining.mine(run[0], tmp_path / given.pop("out"), **given)
    assert not list(tmp_path.iterdir())


def test_the_seed_chooses_the_ranks(run, tmp_path):
    def mined(seed):
        mining.mine(run[0], tmp_path / "one.parquet", (1, 9), per_user=1, history=False, seed=seed)
        return pd.read_parquet(tmp_path / "one.parquet")["rank"].tolist()

    first, second = mined(1), mined(2)
    assert first == mined(1)
    # Of 300 users a ninth has the same rank of nine by chance: 33 with a standard deviation of 5.
    assert sum(one == other for one, other in zip(first, second, strict=True)) < 66


def test_suffixes_may_be_in_capitals(run, tmp_path):
    mining.mine(run[0], tmp_path / "a.CSV", (1, 2))
    assert (tmp_path / "a.CSV").read_text().startswith('"user_id","item_id"')


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(InputError, match="There is no file"):
        mining.mine(rundir.make(tmp_path / "empty"), tmp_path / "negatives.csv")
