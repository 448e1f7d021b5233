"""Seconds a pass of implicit's BPR or ALS: implicit_train.py BPR|ALS INTERACTIONS.npz WIDTH REPEATS (see README.md)."""

import json
import os
import sys
import time

import implicit
import numpy as np
from implicit.als import AlternatingLeastSquares
from implicit.bpr import BayesianPersonalizedRanking
from scipy.sparse import csr_matrix

name, path, width, repeats = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
data = np.load(path)
matrix = csr_matrix((np.ones(len(data["user"]), np.float32), (data["user"], data["item"])))
model = {"BPR": BayesianPersonalizedRanking, "ALS": AlternatingLeastSquares}[name](
    factors=width, iterations=repeats + 1, num_threads=os.cpu_count(), use_gpu=False, random_state=1
)
ends = []
model.fit(matrix, show_progress=False, callback=lambda *_: ends.append(time.perf_counter()))
print(json.dumps({"name": f"implicit {implicit.__version__} {name}", "seconds": np.diff(ends).tolist()}))
