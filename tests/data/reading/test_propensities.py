"""Position bias of a synthetic log: known propensities are estimated and corrected for."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from jaxrec.data.reading.propensities import MAX_WEIGHT, inverse_propensity_weights, parse_positions, propensities
from jaxrec.data.sources.files import files
from jaxrec.errors import InputError

TRUE = 1 / np.arange(1, 9) ** 0.8
USERS, ITEMS, SHOWINGS = 150, 24, 60


@pytest.fixture(scope="module")
def log():
    """Clicks on the lists of noisy rankers, which place relevant items high."""
    rng = np.random.default_rng(0)
    relevance = np.clip(rng.beta(1.0, 2.0, ITEMS)[None, :] * rng.uniform(0.4, 1.6, (USERS, ITEMS)), 0, 0.95)
    noisy = relevance[:, None, :] + rng.normal(0, 0.25, (USERS, SHOWINGS, ITEMS))
    items = np.argsort(-noisy, axis=2)[:, :, : len(TRUE)]
    users = np.broadcast_to(np.arange(USERS)[:, None, None], items.shape)
    positions = np.broadcast_to(np.arange(1, len(TRUE) + 1), items.shape)
    clicks = rng.random(items.shape) < TRUE[positions - 1] * relevance[users, items]
    columns = {"user_id": users, "item_id": items, "position": positions, "label": clicks.astype(int)}
    return pd.DataFrame({name: column.ravel() for name, column in columns.items()}), relevance


def test_known_propensities_are_estimated_where_click_rates_are_biased(log):
    frame, _ = log
    pair = frame.user_id.to_numpy() * ITEMS + frame.item_id.to_numpy()
    found = propensities(pair, frame.position.to_numpy(), frame.label.to_numpy())
    assert found.index.tolist() == list(range(1, 9))
    assert found[1] == 1
    np.testing.assert_allclose(found, TRUE, rtol=0.08)
    rates = frame.groupby("position").label.mean().to_numpy()
    assert (np.abs(rates / rates[0] / TRUE - 1)[2:] > 0.15).all()


def test_two_positions_by_arithmetic():
    # Pair 0: 3 of 4 at position 1, 1 of 2 at position 3. Pair 1: 1 of 1 and 1 of 4. Pair 2: one position only.
    pair = np.repeat([0, 0, 1, 1, 2], [4, 2, 1, 4, 5])
    position = np.repeat([1, 3, 1, 3, 1], [4, 2, 1, 4, 5])
    click = np.array([1, 1, 1, 0, 1, 0, 1, 1, 0, 0, 0, 1, 1, 1, 1, 1])
    found = propensities(pair, position, click)
    assert found.to_dict() == pytest.approx({1: 1, 3: (0.5 + 0.25) / (0.75 + 1)})


def test_clicks_of_a_file_are_weighted_by_inverse_propensities(log, tmp_path):
    frame, relevance = log
    frame.to_csv(tmp_path / "log.csv", index=False)
    read = {"label_column": "label", "position_column": "position", "duplicates": "keep"}
    data = files(tmp_path / "log.csv", **read)
    clicks = frame[frame.label == 1]
    assert len(data) == len(clicks)
    np.testing.assert_allclose(data.weight, np.minimum(1 / TRUE, MAX_WEIGHT)[clicks.position - 1], rtol=0.08)
    # Clicks that each item would have had if always shown first.
    shown = np.zeros(ITEMS)
    np.add.at(shown, frame.item_id, relevance[frame.user_id, frame.item_id])
    weighed = np.bincount(data.item_ids[data.item].astype(int), data.weight, ITEMS)
    plain = np.bincount(clicks.item_id, minlength=ITEMS)
    often = shown > 200
    np.testing.assert_allclose(weighed[often] / shown[often], 1, atol=0.2)
    assert (np.abs(plain[often] / shown[often] - 1) > 0.2).all()


def test_weights_of_rare_positions_are_cut():
    """One of 40 showings at position 2 is clicked and the one at position 1, so that its propensity is 1 / 40."""
    frame = pd.DataFrame({"user_id": [7] * 41, "item_id": [3] * 41})
    weight, notes = inverse_propensity_weights(frame, np.array([1] + [2] * 40), np.array([1, 1] + [0] * 39))
    assert weight.tolist() == pytest.approx([1] + [20] * 40)
    assert notes == {"clicks at rarely examined positions, their weight cut to 20": 1}


def test_event_weights_are_kept(tmp_path):
    rows = [("a", "x", 1, 1, "buy"), ("a", "x", 2, 1, "view"), ("a", "x", 2, 0, "view"), ("b", "x", 1, 1, "buy")]
    pd.DataFrame(rows, columns=["user_id", "item_id", "position", "label", "event"]).to_csv(tmp_path / "log.csv")
    read = {"label_column": "label", "position_column": "position", "duplicates": "keep", "event_column": "event"}
    data = files(tmp_path / "log.csv", **read, event_weights={"view": 0.1})
    assert data.weight.tolist() == pytest.approx([1, 0.1 * 2, 1])


def test_invalid_positions_are_named():
    for position in (0, -1, 1.5, None, "top"):
        with pytest.raises(InputError, match=r"row 2 has the position .* \(1 such rows\)"):
            parse_positions(
                pa.chunked_array([pa.array(["1", None if position is None else str(position)])]),
                lambda row: f"row {row + 1}",
            )


def test_positions_not_linked_to_the_first_are_named():
    pair, position = np.array([0, 0, 1, 1]), np.array([1, 2, 5, 6])
    with pytest.raises(InputError, match=r"position 5 is not identifiable \(2 of 4 positions\)"):
        propensities(pair, position, np.ones(4))


@pytest.mark.parametrize("position", ["300000000", "1e30", "10001", "0", "-1", "1.5", "nan", "x"])
def test_positions_that_are_not_ranks_are_refused(position):
    """A model has a number for each position: one of 3e8 would make a table of 1.1 GiB."""
    column = pa.chunked_array([["1", position, "10000"]])
    with pytest.raises(InputError, match=r"line 3 has the position .*ranks from 1 to 10,000"):
        parse_positions(column, lambda row: f"line {row + 2}")
    assert parse_positions(pa.chunked_array([["1", "10000"]]), str).tolist() == [1, 10_000]


def test_propensities_of_many_positions_are_refused():
    """The estimate for n positions solves a system of n x n."""
    n = 2001
    with pytest.raises(InputError, match=r"has 2,001 different positions; .* at most 2,000"):
        propensities(np.zeros(n, int), np.arange(1, n + 1), np.ones(n, int))
