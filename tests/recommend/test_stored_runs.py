"""Runs that earlier releases saved, stored in tests/fixtures: they load, and recommend what they did then."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from jaxrec import recommend

RUNS = Path(__file__).parent.parent / "fixtures" / "runs-0.1.0"


@pytest.mark.parametrize("model", ["ease", "mf", "sasrec", "softmax_dnn"])
def test_a_run_of_0_1_0_recommends_what_it_did(model):
    """`of_users.csv` and `of_histories.csv` were written by the release that saved the runs."""
    run = recommend.load(RUNS / model)
    of_users, of_histories = (pd.read_csv(RUNS / model / f"of_{what}.csv") for what in ("users", "histories"))
    histories = [run.item_ids[[0, 2, 4]].tolist(), run.item_ids[[5]].tolist()]
    found = run.recommend(run.user_ids[:6], k=5), run.recommend_histories(histories, k=5)
    for frame, expected in zip(found, (of_users, of_histories), strict=True):
        exact = expected.columns.drop("score").tolist()
        pd.testing.assert_frame_equal(frame[exact], expected[exact], check_dtype=False)
        np.testing.assert_allclose(frame["score"], expected["score"], rtol=1e-5, atol=1e-6)
    if model in ("mf", "softmax_dnn"):
        item = run.item_ids.tolist().index("item-04")
        assert run.titles[item] == "Title 4"
        assert run.categories.of(item) == ["even", "early"]
