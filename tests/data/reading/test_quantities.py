import math
from statistics import mean

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from jaxrec.data.reading.quantities import apply_quantity
from jaxrec.data.sources.files import files
from jaxrec.errors import InputError

# Quantities of user "a" and of user "b", rows mixed.
FRAME = pd.DataFrame({"user_id": list("abaab"), "item_id": [1, 2, 3, 4, 5], "value": [1, 10, 4, 1, 30]})


@pytest.mark.parametrize(
    ("quantity", "expected"),
    [
        ("raw", [1, 10, 4, 1, 30]),
        ("log", [math.log(2), math.log(11), math.log(5), math.log(2), math.log(31)]),
        ("per_user", [1 / 4, 1 / 3, 1, 1 / 4, 1]),
        ("rank", [1 / 3, 1 / 4, 2.5 / 3, 1 / 3, 3 / 4]),  # two quantities of 1 of user a share the ranks 1 and 2
    ],
)
def test_every_form_as_value_and_as_weight(quantity, expected):
    frame = apply_quantity(FRAME, quantity, "value")
    assert frame["value"].to_numpy() == pytest.approx(expected, rel=1e-6)
    assert "weight" not in frame
    frame = apply_quantity(FRAME, quantity, "weight")
    assert frame["weight"].to_numpy() == pytest.approx(np.array(expected) / mean(expected), rel=1e-6)
    assert frame["value"].tolist() == FRAME["value"].tolist()


def test_without_quantities():
    assert set(apply_quantity(FRAME, "log", None)) == {"user_id", "item_id"}
    assert set(apply_quantity(FRAME.drop(columns="value"), "log", None)) == {"user_id", "item_id"}


def by_hand(rows: list[tuple[int, float]], quantity: str) -> list[float]:
    """The formulas, row by row."""
    formed = []
    for user, q in rows:
        own = [other for who, other in rows if who == user]
        below, same = sum(other < q for other in own), sum(other == q for other in own)
        formed.append(
            {
                "raw": q,
                "log": math.log1p(q),  # 1 + q would round away a q far below 1
                "per_user": q / max(own) if max(own) else 0.0,
                "rank": (below + (same + 1) / 2 - 0.5) / len(own),
            }[quantity]
        )
    return formed


quantities = st.integers(0, 500).map(float) | st.floats(0, 1e4, width=32, allow_subnormal=False)


@settings(deadline=None, max_examples=25, database=None)
@example([(0, 2.0**-84)], "log")
@given(
    st.lists(st.tuples(st.integers(0, 3), quantities), min_size=1, max_size=12),
    st.sampled_from(["raw", "log", "per_user", "rank"]),
)
def test_random_quantities_against_the_formulas(rows, quantity):
    frame = pd.DataFrame(rows, columns=["user_id", "value"])
    expected = by_hand(rows, quantity)
    assert apply_quantity(frame, quantity, "value")["value"].to_numpy() == pytest.approx(expected, rel=1e-5, abs=1e-30)
    if any(expected):
        weight = apply_quantity(frame, quantity, "weight")["weight"]
        assert weight.mean() == pytest.approx(1, rel=1e-4)
        assert weight.to_numpy() * mean(expected) == pytest.approx(expected, rel=1e-4, abs=1e-30)


def test_invalid_quantities_are_refused():
    negative = FRAME.assign(value=[-2, 1, 1, 1, 1])
    for quantity, quantity_as in (("log", "value"), ("per_user", "value"), ("raw", "weight")):
        with pytest.raises(
            InputError, match=f"data.quantity={quantity}: the smallest quantity is -2; data.min_value=0"
        ):
            apply_quantity(negative, quantity, quantity_as)
    assert apply_quantity(negative, "raw", "value")["value"][0] == -2
    assert apply_quantity(negative, "rank", "value")["value"][0] == pytest.approx(0.5 / 3)
    with pytest.raises(InputError, match=r"data.quantity=log needs quantities: name their column in data.value_column"):
        apply_quantity(FRAME.drop(columns="value"), "log", "value")
    with pytest.raises(InputError, match="all quantities are 0"):
        apply_quantity(FRAME.assign(value=0), "log", "weight")


def test_quantities_of_files(tmp_path):
    path = tmp_path / "bought.csv"
    FRAME.to_csv(path, index=False)
    data = files(path, value_column="value", quantity="per_user", quantity_as="weight")
    assert data.value.tolist() == [1, 10, 4, 1, 30]
    assert data.weight * (1 / 4 + 1 / 3 + 1 + 1 / 4 + 1) / 5 == pytest.approx([1 / 4, 1 / 3, 1, 1 / 4, 1], rel=1e-6)
    filtered = files(path, value_column="value", min_value=4.0, quantity="per_user")  # of rows that pass the filters
    assert filtered.value == pytest.approx([1 / 3, 1, 1], rel=1e-6)
    assert files(path, value_column="value", quantity_as=None).value is None
