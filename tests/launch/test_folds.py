"""Test periods as replicas: a grid over folds has means over them, and models are compared over all of them."""

import shutil
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from jaxrec import launch
from jaxrec.compare import compare
from jaxrec.errors import InputError
from jaxrec.launch.seeds import summarize
from tests.page import Page

pytestmark = pytest.mark.whole

SETTINGS = ("data=files", "data.time_column=time", "split=rolling", "split.folds=2")
SOLVED = ("loss=none", "negatives=none", "optimizer=none")
COMBINATIONS = [(model, fold) for fold in (0, 1) for model in ("popularity", "ease")]


@pytest.fixture(scope="module")
def folder(compose, tmp_path_factory):
    """A grid of two models and two test periods, in which users of two tastes act on 40 items."""
    rng, path = np.random.default_rng(0), tmp_path_factory.mktemp("data") / "log.csv"
    user, item = np.divmod(rng.permutation(60 * 20)[:1000], 20)
    frame = pd.DataFrame({"user_id": user, "item_id": item + 20 * (user % 2), "time": np.arange(1000) * 3600})
    frame.to_csv(path, index=False)
    folder, combinations = tmp_path_factory.mktemp("folds") / "grid", []
    for model, fold in COMBINATIONS:
        overrides = [f"model={model}", f"split.fold={fold}"]
        combinations.append((compose(*SETTINGS, f"data.path={path}", *SOLVED, *overrides), overrides))
    launch.grid(combinations, folder)
    return folder


def per_user(folder, model):
    numbers = [number for number, (name, _) in enumerate(COMBINATIONS) if name == model]
    frames = [pd.read_parquet(folder / str(number) / "per_user.parquet") for number in numbers]
    return pd.concat([frame.assign(fold=fold) for fold, frame in enumerate(frames)])


def test_means_of_a_grid_are_over_folds(folder):
    means = pd.read_csv(folder / "seeds.csv").set_index("overrides")
    runs = pd.read_csv(folder / "runs.csv")
    assert set(runs["state"]) == {"complete"}  # the folds have no common baseline
    assert means[["seeds", "folds"]].to_numpy().tolist() == [[1, 2], [1, 2]]
    for model in ("popularity", "ease"):
        own = runs[runs.overrides.str.startswith(f"model={model} ")]
        for part in ("validation", "test"):
            key, values = f"{part}_ndcg@10", own[f"{part}_ndcg@10"]
            assert means.loc[f"model={model}", key] == pytest.approx(values.mean())
            assert means.loc[f"model={model}", f"{key}_sd"] == pytest.approx(values.std())
        low, high = stats.ttest_1samp(own["validation_ndcg@10"], 0).confidence_interval(0.95)
        assert means.loc[f"model={model}", "validation_ndcg@10_low"] == pytest.approx(low)
        assert means.loc[f"model={model}", "validation_ndcg@10_high"] == pytest.approx(high)
    assert "Means over seeds and folds" in Page((folder / "report.html").read_text(encoding="utf-8")).content


def test_models_are_compared_over_all_folds(folder):
    found = compare([str(folder)], "ndcg@10")
    reference, other = (per_user(folder, model) for model in ("popularity", "ease"))
    joined = reference.merge(other, on=["fold", "user_id"])
    differences = joined["ndcg@10_y"] - joined["ndcg@10_x"]
    assert found.table["run"].tolist() == ["model=popularity", "model=ease"]
    assert found.table["seeds"].tolist() == [1, 1]
    assert found.table["value"].tolist() == pytest.approx([frame["ndcg@10"].mean() for frame in (reference, other)])
    assert found.table["difference"][1] == pytest.approx(differences.mean())
    # Overlapping clusters: users, folds, and both. The degrees of freedom are Satterthwaite's.
    deviations, terms = differences - differences.mean(), []
    for sign, names in ((1, ["user_id"]), (1, ["fold"]), (-1, ["user_id", "fold"])):
        sums = deviations.groupby([joined[name] for name in names]).sum()
        n = len(sums)
        terms.append((sign * np.square(sums).sum() * n / (n - 1) / len(joined) ** 2, n - 1))
    variance = max(sum(term for term, _ in terms), terms[0][0], terms[1][0])
    dof = variance**2 / sum(term**2 / own for term, own in terms)
    half = (found.table["difference_high"][1] - found.table["difference_low"][1]) / 2
    assert half == pytest.approx(stats.t.ppf(0.975, dof) * np.sqrt(variance), rel=1e-6)
    text = Page(found.page()).content
    assert "95% intervals over users, seeds and 2 folds" in text
    assert f"Users {joined['user_id'].nunique()}" in text
    assert "rolling test periods (folds=2" in text


def test_intervals_without_users_are_over_the_means_of_folds():
    """Two folds with two seeds each; seeds do not count as folds."""
    values = [0.1, 0.3, 0.4, 0.8]
    frames = [pd.DataFrame({"user_id": [1, 2], "ndcg@10": [value, value]}) for value in values]
    runs = [
        SimpleNamespace(metrics={"validation": {"ndcg@10": v}, "test": {"ndcg@10": v}}, per_user=frame)
        for v, frame in zip(values, frames, strict=True)
    ]
    found = summarize(runs, folds=[0, 0, 1, 1])["validation"]["ndcg@10"]
    low, high = stats.ttest_1samp([0.2, 0.6], 0).confidence_interval(0.95)
    assert found == pytest.approx({"mean": 0.4, "sd": np.std(values, ddof=1), "low": low, "high": high})


def test_settings_must_have_the_same_folds_and_each_fold_the_same_seeds(folder, tmp_path):
    with pytest.raises(InputError, match=r"3 has folds \[1\], .*0 has folds \[0\]: train the same folds of both"):
        compare([str(folder / name) for name in ("0", "3")])
    shutil.copytree(folder / "3", tmp_path / "unfolded")
    config = tmp_path / "unfolded" / "config.yaml"
    config.write_text(config.read_text().replace("  fold: 1\n", ""))
    with pytest.raises(InputError, match=r"0 has folds \[0\], .*unfolded has no folds: train the same folds of both"):
        compare([str(tmp_path / "unfolded"), str(folder / "0")])
    shutil.copytree(folder / "0", tmp_path / "other")
    config = tmp_path / "other" / "config.yaml"
    config.write_text(config.read_text().replace("\nseed: 1\n", "\nseed: 2\n"))
    with pytest.raises(InputError, match=r"other seeds in some folds than in others \(fold 0: 1, 2; fold 1: 1\)"):
        compare([str(folder / "0"), str(tmp_path / "other"), str(folder / "2")], min_settings=1)
