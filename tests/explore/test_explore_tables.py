"""Every table against a plain computation on synthetic data, and on minimal data."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from jaxrec.data.interactions import encode
from jaxrec.data.properties import Changes, properties
from jaxrec.errors import InputError
from jaxrec.explore.actions import MAX_ACTIONS, actions
from jaxrec.explore.funnel import funnel_stages
from jaxrec.explore.histogram import histogram
from jaxrec.explore.tables import tables
from jaxrec.explore.times import over_time
from jaxrec.explore.users import user_histogram
from jaxrec.explore.values import spread
from tests.explore.synthetic_log import DAY, EVENTS, MINUTE, made


@pytest.fixture(scope="module")
def both():
    interactions, frame = made()
    return tables(interactions), frame.assign(action=np.array(EVENTS)[frame.event])


def test_sizes(both):
    found, frame = both
    facts = dict(found["summary"].to_numpy())
    pairs = len(frame[["user_id", "item_id"]].drop_duplicates())
    users, items = frame.user_id.nunique(), frame.item_id.nunique()
    assert [facts[f] for f in ("interactions", "users", "items", "distinct pairs")] == [3000, users, items, pairs]
    assert facts["density"] == pairs / (users * items)


def test_actions(both):
    found, frame = both
    expected = frame.groupby("action").agg(
        interactions=("item_id", "size"), users=("user_id", "nunique"), items=("item_id", "nunique")
    )
    mine = found["actions"].set_index("action")
    assert list(mine.index) == list(frame.action.value_counts().index)
    pd.testing.assert_frame_equal(mine[expected.columns].loc[expected.index], expected, check_dtype=False)


def test_top_items(both):
    found, frame = both
    for action, mine in found["top_items"].groupby("action"):
        rows = frame[frame.action == action]
        counts = rows.item_id.value_counts()
        assert mine.interactions.tolist() == counts.head(20).tolist()
        assert mine.interactions.tolist() == counts[mine.item_id].tolist()
        assert mine.users.tolist() == rows.groupby("item_id").user_id.nunique()[mine.item_id].tolist()
        assert mine.title.tolist() == [f"film {item}" for item in mine.item_id]
        assert mine.share.tolist() == pytest.approx((counts[mine.item_id] / len(rows)).tolist())


def test_ranks(both):
    found, frame = both
    counts = frame[frame.action == "view"].item_id.value_counts().tolist()
    mine = found["item_ranks"].query("action == 'view'")
    assert mine["rank"].iloc[[0, -1]].tolist() == [1, len(counts)]
    assert mine.interactions.tolist() == [counts[rank - 1] for rank in mine["rank"]]


def test_concentration(both):
    found, frame = both
    for row in found["concentration"].itertuples():
        x = frame[f"{row.of[:-1]}_id"].value_counts().to_numpy()
        n = len(x)
        for percent in (1, 10, 20):
            assert getattr(row, f"top_{percent}_percent") == x[: int(np.ceil(n * percent / 100))].sum() / x.sum()
        # Gini as the mean difference of two of them, halved, over the mean.
        assert row.gini == pytest.approx(np.abs(x[:, None] - x).mean() / 2 / x.mean())
        curve = found["lorenz"].query("of == @row.of")
        assert curve.iloc[[0, -1], 1:].to_numpy().tolist() == [[0, 0], [1, 1]]
        place = curve.iloc[len(curve) // 2]
        assert place.share_of_interactions == x[: round(place.share_of_ids * n)].sum() / x.sum()


def test_user_activity(both):
    found, frame = both
    for row in found["user_activity"].itertuples():
        counts = frame[frame.action == row.action].user_id.value_counts()
        assert (row.users, row.most, row.mean) == (len(counts), counts.max(), counts.mean())
        assert [row.p25, row.median, row.p90] == counts.quantile([0.25, 0.5, 0.9]).tolist()


def test_user_histogram(both):
    found, frame = both
    counts = frame[frame.action == "view"].user_id.value_counts()
    table = found["user_histogram"]
    cut = np.quantile(counts, 0.9, method="higher")
    assert (table.cut == cut).all()
    assert (table.action == "view").all()
    for group, mine in (("all users", counts), ("top users", counts[counts >= cut])):
        rows = table[table.group == group]
        assert rows["count"].tolist() == [
            mine.between(low, high).sum() for low, high in rows[["low", "high"]].to_numpy()
        ]
        assert rows.share.iloc[0] == mine.sum() / counts.sum()


def test_equal_users_have_no_top_group():
    table = user_histogram(np.array([0, 1, 2]), "view")
    assert table.group.unique().tolist() == ["all users"]


def test_top_users(both):
    found, frame = both
    counts = frame.user_id.value_counts()
    mine = found["top_users"]
    assert mine.interactions.tolist() == counts.head(20).tolist() == counts[mine.user_id].tolist()
    kinds = frame.groupby(["user_id", "action"]).size().unstack(fill_value=0)
    assert mine[list(EVENTS)].to_numpy().tolist() == kinds.loc[mine.user_id, list(EVENTS)].to_numpy().tolist()
    assert mine["items"].tolist() == frame.groupby("user_id").item_id.nunique()[mine.user_id].tolist()


def test_over_time_and_hours(both):
    found, frame = both
    when = pd.to_datetime(frame.time, unit="ms")
    table = found["over_time"]
    assert (table.period == "day").all()
    expected = Counter(zip(when.dt.strftime("%Y-%m-%d"), frame.action, strict=True))
    assert {(row.start, row.action): row.interactions for row in table.itertuples() if row.interactions} == expected
    week = Counter(zip(frame.action, when.dt.day_of_week, when.dt.hour, strict=True))
    counted = {(r.action, r.weekday, r.hour): r.interactions for r in found["hours"].itertuples() if r.interactions}
    assert counted == week


@pytest.mark.parametrize(
    ("days", "period", "starts"),
    [
        (0.1, "hour", ["1970-01-01T00:00", "1970-01-01T01:00", "1970-01-01T02:00"]),
        (2, "hour", None),
        (100, "day", None),
        (304, "week", None),  # a Sunday ends its week
        (3000, "month", None),
        (40_000, "year", None),
    ],
)
def test_the_period_depends_on_the_time_span(days, period, starts):
    time = np.array([0, int(days * DAY)])
    table = over_time(time, np.zeros(2, int), ["view"])
    assert (table.period == period).all()
    assert table.interactions.sum() == 2
    assert starts is None or table.start.tolist() == starts
    last = pd.Timestamp(table.start.iloc[-1])
    longest = {"hour": 1 / 24, "day": 1, "week": 7, "month": 31, "year": 366}[period]
    assert last <= pd.Timestamp(time[1], unit="ms") < last + pd.Timedelta(longest * 24, "h")
    assert period != "week" or {pd.Timestamp(start).weekday() for start in table.start} == {0}


def test_funnel(both):
    found, frame = both
    for of, key in (("users", ["user_id"]), ("pairs", ["user_id", "item_id"])):
        sets = [set(frame[frame.action == action][key].itertuples(index=False, name=None)) for action in EVENTS]
        through = [sets[0], sets[0] & sets[1], sets[0] & sets[1] & sets[2]]
        assert found["funnel"][of].tolist() == [len(each) for each in sets]
        assert found["funnel"][f"{of}_through"].tolist() == [len(each) for each in through]
        rates = found["funnel"][f"{of}_rate"].tolist()
        assert rates[1:] == [len(through[1]) / len(through[0]), len(through[2]) / len(through[1])]


def test_funnel_stages_are_inferred_or_given():
    names = ("remove_from_cart", "Purchase", "add_to_cart", "ViewContent")
    assert funnel_stages(names, None) == ["ViewContent", "add_to_cart", "Purchase"]
    assert funnel_stages(names, ("add_to_cart", "Purchase")) == ["add_to_cart", "Purchase"]
    with pytest.raises(InputError, match=r"explore\.funnel has unknown events, buy: the events are remove_from_cart"):
        funnel_stages(names, ("buy",))


def test_sessions(both):
    found, frame = both
    ordered = frame.sort_values(["user_id", "time"], kind="stable")
    starts = ordered.groupby("user_id").time.diff().fillna(np.inf) > 30 * MINUTE
    groups = ordered.groupby(starts.cumsum().to_numpy())
    length, seconds = groups.size(), (groups.time.max() - groups.time.min()) / 1000
    facts = dict(found["sessions"].to_numpy())
    assert facts["sessions"] == len(length)
    assert facts["mean actions"] == length.mean()
    assert facts["share with a single action"] == (length == 1).mean()
    assert facts["share with transaction"] == groups.action.agg(lambda names: "transaction" in set(names)).mean()
    sizes = found["session_sizes"]
    for of, values in (("actions", length), ("seconds", seconds)):
        mine = sizes[sizes.of == of]
        assert mine["count"].sum() == len(values)
        assert mine["count"].iloc[0] == (values < mine.low.iloc[1]).sum()


def test_correlations(both):
    found, frame = both
    table = found["correlations"].set_index("column")
    when = pd.to_datetime(frame.time, unit="ms")
    plain = pd.DataFrame({"value": frame.value, "weight": frame.weight, "hour": when.dt.hour})
    plain["user activity"] = frame.user_id.map(frame.user_id.value_counts())
    plain["is view"] = frame.event == 0
    expected = plain.astype(float).rank().corr()
    assert table.loc[expected.index, expected.index].to_numpy() == pytest.approx(expected.to_numpy())
    assert "item price" in table


def test_sparsity(both):
    found, frame = both
    pairs = frame[["user_id", "item_id"]].drop_duplicates()
    for of, key in (("users", "user_id"), ("items", "item_id")):
        counts = pairs[key].value_counts()
        rows = found["pair_histogram"][found["pair_histogram"].of == of]
        assert rows["count"].tolist() == [counts.between(a, b).sum() for a, b in rows[["low", "high"]].to_numpy()]
    for row in found["k_cores"].itertuples():
        left = frame
        while True:
            users, items = (left[key].map(left[key].value_counts()) for key in ("user_id", "item_id"))
            if (users.ge(row.k) & items.ge(row.k)).all():
                break
            left = left[users.ge(row.k) & items.ge(row.k)]
        assert (row.interactions, row.users, row.items) == (len(left), left.user_id.nunique(), left.item_id.nunique())


def test_features(both):
    found, _ = both
    assert found["features"][["feature", "filled", "different"]].to_numpy().tolist() == [
        ["title", 1.0, found["summary"].value[2]],
        ["price", 1.0, found["summary"].value[2]],
    ]


def test_spread():
    few = spread(np.array([1, 2, 2, np.nan], np.float32))
    assert few.to_numpy().tolist() == [[1, 1, 1], [2, 2, 2]]
    counts = np.concatenate([np.zeros(3), np.arange(1, 101)]).astype(np.float32)
    table = spread(counts)
    assert table.iloc[0].tolist() == [0, 0, 3]
    assert table["count"].sum() == 103
    real = np.random.default_rng(0).normal(size=1000)
    assert spread(real)["count"].sum() == 1000
    assert spread(np.array([np.nan])) is None
    assert spread(None) is None


@pytest.mark.parametrize("most", [1, 24, 25, 87, 10**6, 2**31])
def test_every_value_is_in_one_bin(most):
    table = histogram(np.array([1, most]))
    assert table["count"].sum() == 2
    assert (table.low.to_numpy()[1:] == table.high.to_numpy()[:-1] + 1).all()
    assert table.high.iloc[-1] == most


def test_rare_event_types_are_combined():
    n = 30
    frame = pd.DataFrame({"user_id": np.arange(n), "item_id": 1, "event": np.repeat(np.arange(10), 3)})
    data = encode(frame, event_names=tuple("abcdefghij"), name="made")
    codes, names = actions(data)
    assert len(names) == MAX_ACTIONS
    assert names[-1] == "others"
    assert np.bincount(codes).tolist() == [3, 3, 3, 3, 3, 15]


def test_minimal_data():
    found = tables(encode(pd.DataFrame({"user_id": ["a"], "item_id": ["b"]}), name="one"))
    absent = {
        "over_time",
        "hours",
        "funnel",
        "sessions",
        "session_sizes",
        "values",
        "weights",
        "correlations",
        "features",
    }
    assert not absent & set(found)
    assert found["top_items"].title.tolist() == ["item b"]
    assert found["k_cores"].interactions.tolist() == [1, 0]


def test_an_item_without_a_title_is_shown_by_id_and_category():
    frame = pd.DataFrame({"user_id": 1, "item_id": [7, 7, 7, 8, 8, 9]})
    kinds = pd.DataFrame({"item_id": [7, 8], "brand": ["x", "y"], "Product_Type": ["BANANAS", " "]})
    found = tables(encode(frame, item_features=kinds, name="kinds"))
    assert found["top_items"].title.tolist() == ["7 BANANAS", "item 8", "item 9"]


def test_of_changing_features_the_last_value_is_shown():
    data = encode(pd.DataFrame({"user_id": [1, 2], "item_id": [5, 5], "time": [10, 20]}), name="made")
    known = properties(1, {"color": Changes(np.zeros(3, int), np.array([5, 15, 25]), pd.Categorical(["a", "b", "c"]))})
    found = tables(replace(data, properties=known))["features"]
    assert found[["of", "feature", "most_frequent"]].to_numpy().tolist() == [["item", "color", "b"]]


def test_data_without_rows():
    interactions, _ = made()
    with pytest.raises(InputError, match="made has no interactions"):
        tables(interactions.take(np.arange(0)))
