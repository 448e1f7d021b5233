"""A log with every column that can be explored, and its data frame."""

import numpy as np
import pandas as pd

from jaxrec.data.interactions import encode

EVENTS = ("view", "addtocart", "transaction")
START = 1_430_000_000_000
MINUTE, DAY = 60_000, 86_400_000


def made(n=3000, seed=0, **changes):
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "user_id": (200 * rng.beta(0.5, 3, n)).astype(int),
            "item_id": (90 * rng.beta(0.4, 3, n)).astype(int),
            "time": START + rng.integers(0, 60 * DAY, n),
            "event": rng.choice(3, n, p=[0.7, 0.2, 0.1]),
            "value": rng.integers(1, 6, n),
            "weight": rng.random(n),
        }
    ).assign(**changes)
    titles = pd.DataFrame(
        {"item_id": np.arange(90), "title": [f"film {i}" for i in range(90)], "price": rng.random(90)}
    )
    return encode(frame, item_features=titles, event_names=EVENTS, notes={"rows dropped": 3}, name="made"), frame
