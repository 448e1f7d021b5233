"""Seconds that RecBole takes for so many batches: recbole_model.py train|evaluate MODEL BATCHES DATA.npz WIDTH REPEATS.

MODEL is NeuMF (hidden layers of twice and once the width, no dropout) or GRU4Rec (state as wide as the items); all else
is RecBole's default. The last item of each user tests, the one before validates: evaluation looks for the latter.
"""

import json
import logging
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import recbole
import torch
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.utils import get_model, get_trainer, init_seed

what, name, batches, path, width, repeats = *sys.argv[1:3], int(sys.argv[3]), sys.argv[4], *map(int, sys.argv[5:7])
torch.set_num_threads(len(os.sched_getaffinity(0)))


times, sizes = [], []


def timed(loader):
    """The same loader, now with an eye on the clock; it ends after a piece to warm up and `repeats` that count."""
    kind = type(loader)

    def iterate(self):
        while True:
            for batch in kind.__iter__(self):
                if len(sizes) % batches == 0:
                    times.append(time.perf_counter())
                if len(times) == repeats + 2:
                    return
                sizes.append(len(batch[0] if what == "evaluate" else batch))
                yield batch

    loader.__class__ = type("Timed", (kind,), {"__iter__": iterate})  # RecBole asks what kind it is
    return loader


own = {
    "NeuMF": {
        "mf_embedding_size": width,
        "mlp_embedding_size": width,
        "mlp_hidden_size": [2 * width, width],
        "dropout_prob": 0.0,  # jaxrec's has none
    },
    "GRU4Rec": {"embedding_size": width, "hidden_size": width, "train_neg_sample_args": None},
}
data = np.load(path)
with tempfile.TemporaryDirectory() as folder:
    os.chdir(folder)  # it leaves logs where it runs
    Path("data").mkdir()
    columns = {"user_id:token": data["user"], "item_id:token": data["item"], "time:float": np.arange(len(data["user"]))}
    pd.DataFrame(columns).to_csv("data/data.inter", sep="\t", index=False)
    settings = {
        **own[name],
        "data_path": folder,
        "use_gpu": False,
        "show_progress": False,
        "TIME_FIELD": "time",
        "load_col": {"inter": ["user_id", "item_id", "time"]},
        "eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO", "mode": "full", "group_by": "user"},
        "metrics": ["NDCG", "Recall", "MRR"],
        "topk": [10],
        "valid_metric": "NDCG@10",
    }
    config = Config(model=name, dataset="data", config_dict=settings)
    logging.disable(logging.INFO)
    init_seed(config["seed"], config["reproducibility"])
    train, validation, _ = data_preparation(config, create_dataset(config))
    model = get_model(name)(config, train._dataset)
    trainer = get_trainer(config["MODEL_TYPE"], name)(config, model)
    if what == "train":
        trainer._train_epoch(timed(train), 0)
    else:
        trainer.evaluate(timed(validation), load_best_model=False)
seconds = np.diff(times)[1:].tolist()
each = np.mean(sizes[batches:]) * batches
if what == "train" and name == "NeuMF":
    each /= 2  # a batch holds a sampled negative beside each interaction
print(json.dumps({"name": f"RecBole {recbole.__version__} {name}", "seconds": seconds, "targets": each}))
