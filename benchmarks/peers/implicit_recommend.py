"""Seconds of implicit's recommend for every user: implicit_recommend.py INTERACTIONS.npz WIDTH REPEATS (see README.md).

What a user has is filtered.
"""

import json
import os
import sys
import time

import implicit
import numpy as np
from implicit.bpr import BayesianPersonalizedRanking
from scipy.sparse import csr_matrix

path, width, repeats = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
data = np.load(path)
matrix = csr_matrix((np.ones(len(data["user"]), np.float32), (data["user"], data["item"])))
model = BayesianPersonalizedRanking(
    factors=width - 1, iterations=1, num_threads=os.cpu_count(), use_gpu=False, random_state=1
)  # implicit adds a column for the bias
model.fit(matrix, show_progress=False)
seconds = []
for _ in range(repeats + 1):
    started = time.perf_counter()
    model.recommend(np.arange(matrix.shape[0]), matrix, N=10, filter_already_liked_items=True)
    seconds.append(time.perf_counter() - started)
print(json.dumps({"name": f"implicit {implicit.__version__} recommend", "seconds": seconds[1:]}))
