"""Features of three users and six items, some missing, for models that embed features."""

import numpy as np
import pandas as pd

from jaxrec.data.features import Features, features

USERS = pd.DataFrame({"job": pd.Categorical(["cook", "smith", "cook"]), "age": [20.0, 30.0, 70.0]})
ITEMS = pd.DataFrame(
    {
        "brand": pd.Categorical(["x", "y", None, "x", "z", "y"]),
        "tags": [["a", "b"], [], ["c"], None, ["b"], ["a", "b", "c"]],
        "price": [1.0, 2.0, np.nan, 4.0, 5.0, 6.0],
    }
)
OF_USERS, OF_ITEMS = features(USERS), features(ITEMS)


def vectors(tables: dict, of: Features, row: int) -> np.ndarray:
    """Return [V, D]: the table row of the category, and the mean of the rows of the bag, or row 0 of an empty bag."""
    found = [tables[f"categories_{place}"]["table"][code] for place, code in enumerate(of.categories[row])]
    for place, codes in enumerate(of.bags[row]):
        known = codes[codes > 0] if (codes > 0).any() else [0]
        found.append(tables[f"bags_{place}"]["table"][known].mean(axis=0))
    return np.stack(found)
