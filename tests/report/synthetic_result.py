"""Synthetic settings and results of a run, for tests of pages."""

import math

import numpy as np
import pandas as pd

from jaxrec.data.interactions import Interactions
from jaxrec.experiment import Result
from jaxrec.hyper import Hyper
from jaxrec.models.popularity import Popularity

TREE = {
    "model": {"_target_": "jaxrec.models.popularity.Popularity", "note": "a < b"},
    "eval": {"_target_": "jaxrec.evaluation.full_catalog.FullCatalog", "k": [5, 10], "monitor": "ndcg@10"},
}


def result(known=None, **changes):
    known = known or Interactions(
        user=np.repeat(np.arange(4, dtype=np.int32), [1, 2, 3, 4]),
        item=np.arange(10, dtype=np.int32) % 5,
        value=None,
        time=None,
        part=None,
        user_ids=np.array(["a", "b", "c", "d"], object),
        item_ids=np.arange(5),
        name="films",
    )
    values = {
        "metrics": {
            "validation": {},
            "test": {"ndcg@5": 0.5, "ndcg@10": 0.4321, "coverage@10": 0.25},
            "test_interval": {"ndcg@10": (0.4111, 0.4555)},
            "popularity": {"ndcg@5": 0.25, "ndcg@10": 0.2, "coverage@10": 0.125},
            "best_epoch": 2,
            "data": {"users": 4, "test_items_not_in_train": 7, "test_before_last_train": 0.375, "novel_key": 3},
            "time": {"load_s": 1.5},
            "environment": {"device": "abacus"},
        },
        # History lengths are 1, 2, 3 and 4; the order in the table differs.
        "per_user": pd.DataFrame({"user_id": ["d", "b", "a", "c"], "ndcg@10": [0.82, 0.42, 0.0, 0.62]}),
        "history": pd.DataFrame({"epoch": [1, 2, 3], "loss": [3.0, 2.0, 1.0], "ndcg@10": [0.1, 0.3, math.nan]}),
        "model": Popularity(n_items=5),
        "params": {"params": {"count": np.zeros(5, np.float32)}},
        "hyper": Hyper(),
        "known": known,
    }
    return Result(**{**values, **changes})
