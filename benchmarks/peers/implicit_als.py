"""Seconds a sweep of implicit's ALS: users, then items. Usage: as implicit_bpr.py."""

import json
import os
import sys
import time

import implicit
import numpy as np
from implicit.als import AlternatingLeastSquares
from scipy.sparse import csr_matrix

path, width, repeats = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
data = np.load(path)
matrix = csr_matrix((np.ones(len(data["user"]), np.float32), (data["user"], data["item"])))
model = AlternatingLeastSquares(
    factors=width, iterations=repeats + 1, num_threads=os.cpu_count(), use_gpu=False, random_state=1
)
ends = []
model.fit(matrix, show_progress=False, callback=lambda *_: ends.append(time.perf_counter()))
print(json.dumps({"name": f"implicit {implicit.__version__} ALS", "seconds": np.diff(ends).tolist()}))
