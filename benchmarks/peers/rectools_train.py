"""Seconds that RecTools takes for so many batches. Usage: rectools_train.py MODEL BATCHES DATA.npz WIDTH REPEATS.

MODEL is SASRec or BERT4Rec: 2 blocks of 2 heads, histories of 50, batches of 128 users, the full softmax.
"""

import json
import logging
import os
import sys
import time
import warnings
from importlib.metadata import version

import numpy as np
import pandas as pd
import torch
from pytorch_lightning import Callback, Trainer
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models import BERT4RecModel, SASRecModel

name, batches, path, width, repeats = sys.argv[1], int(sys.argv[2]), sys.argv[3], *map(int, sys.argv[4:6])
warnings.filterwarnings("ignore")
logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
torch.set_num_threads(len(os.sched_getaffinity(0)))
torch.manual_seed(1)
times, targets = [], []


class Clock(Callback):
    """Looks at the clock every so many batches; the first of these pieces warms up."""

    def on_train_batch_start(self, trainer, module, batch, number):
        """Ends training once the last piece is full."""
        if len(targets) % batches == 0:
            times.append(time.perf_counter())
        if len(times) == repeats + 2:
            trainer.should_stop = True
            return -1
        targets.append(int((batch["y"] != 0).sum()))
        return None


def trainer():
    """No more epochs than the pieces fill."""
    return Trainer(
        max_epochs=1000,
        accelerator="cpu",
        devices=1,
        callbacks=[Clock()],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


data = np.load(path)
order = pd.to_datetime(np.arange(len(data["user"])), unit="s")
frame = pd.DataFrame({Columns.User: data["user"], Columns.Item: data["item"], Columns.Datetime: order})
frame[Columns.Weight] = 1.0
model = {"SASRec": SASRecModel, "BERT4Rec": BERT4RecModel}[name](
    n_blocks=2,
    n_heads=2,
    n_factors=width,
    session_max_len=50,
    dropout_rate=0.2,
    loss="softmax",
    batch_size=128,
    get_trainer_func=trainer,
)
model.fit(Dataset.construct(frame))
each = np.mean(targets[batches:]) * batches
seconds = np.diff(times)[1:].tolist()
print(json.dumps({"name": f"RecTools {version('rectools')} {name}", "seconds": seconds, "targets": each}))
