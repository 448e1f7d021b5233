import gzip
import zipfile
from dataclasses import fields
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxrec.data.interactions import COLUMNS
from jaxrec.data.sources.files import files
from jaxrec.data.sources.retailrocket import EVENTS, retailrocket
from jaxrec.data.sources.synthetic_retailrocket import write
from jaxrec.data.splits.sessions import sessions
from jaxrec.data.splits.split import global_time, leave_one_out
from jaxrec.errors import InputError

SIZES = {"n_events": 500, "n_visitors": 200, "n_items": 60, "n_properties": 4000, "n_categories": 30}
HEADER = "timestamp,visitorid,event,itemid,transactionid\n"
PROPERTIES = "timestamp,itemid,property,value\n"
T = 1_433_000_000_000
FILES = {
    "events.csv": HEADER + f"{T + 2},7,view,1,\n{T},8,view,2,\n{T + 1},7,view,2,\n{T + 3},7,transaction,1,0\n",
    "item_properties_part1.csv": PROPERTIES + f"{T + 2},1,categoryid,5\n{T},1,categoryid,1\n{T},2,790,n5.000 33\n",
    "item_properties_part2.csv": PROPERTIES + f"{T + 1},1,available,0\n{T},9,available,1\n{T + 9},1,available,1\n",
    "category_tree.csv": "categoryid,parentid\n1,\n5,1\n",
}


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    return write(tmp_path_factory.mktemp("made"), **SIZES)


@pytest.fixture
def folder(tmp_path):
    """Write the small files, with some contents replaced."""

    def folder(**other: str | bytes | None) -> Path:
        for name, content in (FILES | {f"{name}.csv": content for name, content in other.items()}).items():
            (tmp_path / name).unlink(missing_ok=True)
            if content is not None:
                (tmp_path / name).write_bytes(content.encode() if isinstance(content, str) else content)
        return tmp_path

    return folder


def read(path: Path, **options):
    return retailrocket(path, cache=False, **options)


def rows(data) -> list[tuple]:
    events = [data.event_names[code] for code in data.event]
    return list(zip(data.user_ids[data.user], data.item_ids[data.item], data.time - T, events, strict=True))


EXPECTED = [(8, 2, 0, "view"), (7, 2, 1, "view"), (7, 1, 2, "view"), (7, 1, 3, "transaction")]


def test_the_small_files(folder):
    data = read(folder(), item_properties=("categoryid", "available", "790"))
    assert rows(data) == EXPECTED
    assert data.notes == {
        "rows older than the one above them, put in the order of time": 1,
        "property rows of items without events, dropped": 1,
    }
    assert data.properties.item.min() == 0  # without dropped rows
    known = data.properties.at(data.item, data.time)
    assert known["category_path"].map(str).tolist() == ["nan", "nan", "[1, 5]", "[1, 5]"]
    assert known["available"].astype(object).fillna("none").tolist() == ["none", "none", False, False]
    assert known["790"].astype(object).fillna("none").tolist() == ["n5.000 33", "n5.000 33", "none", "none"]


def test_no_feature_of_a_split_comes_from_the_future(made):
    data = read(made, item_properties=("categoryid", "available"))
    split = global_time(data, validation_from=0.4, test_from=0.6)
    newest = split.selection.train.time.max()
    stated = pd.concat([pd.read_csv(made / f"item_properties_part{n}.csv") for n in (1, 2)])
    past = stated[stated["timestamp"] <= newest]
    assert len(past) < len(stated)
    paths = pd.read_csv(made / "category_tree.csv").set_index("categoryid")["parentid"]
    for part in (split.selection.train, split.test.target):
        for item_id, row in zip(part.item_ids, part.item_features.itertuples(), strict=True):
            own = past[past["itemid"] == item_id].sort_values("timestamp", kind="stable")
            category = own.loc[own["property"] == "categoryid", "value"]
            flag = own.loc[own["property"] == "available", "value"]
            assert (None if pd.isna(row.category) else str(row.category)) == (
                None if category.empty else category.iloc[-1]
            )
            assert (None if pd.isna(row.available) else str(int(row.available))) == (
                None if flag.empty else flag.iloc[-1]
            )
            if not category.empty:
                assert row.category_path[-1] == row.category
                assert [paths[c] for c in row.category_path[1:]] == row.category_path[:-1]
                assert np.isnan(paths[row.category_path[0]])


def zipped(path: Path) -> None:
    with zipfile.ZipFile(f"{path}.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(path, path.name)


@pytest.mark.parametrize(
    "pack", [zipped, lambda path: Path(f"{path}.gz").write_bytes(gzip.compress(path.read_bytes()))]
)
def test_zipped_files_read_the_same(folder, pack):
    path = folder()
    for file in list(path.iterdir()):
        pack(file)
        file.unlink()
    assert rows(read(path)) == EXPECTED


@pytest.mark.parametrize(
    "change",
    [
        {name: FILES[f"{name}.csv"].replace("\n", "\r\n") for name in ("events", "category_tree")},
        {"item_properties_part1": FILES["item_properties_part1.csv"].replace("\n", "\r\n")},
        {"events": "\ufeff" + FILES["events.csv"]},
        {"events": FILES["events.csv"].replace("view", '"view"')},
        {"item_properties_part1": FILES["item_properties_part1.csv"].replace("n5.000 33", '"n5.000, 33"')},
        {"item_properties_part1": FILES["item_properties_part1.csv"].replace("n5.000 33", '"n5.000\n33"')},
        {"item_properties_part1": FILES["item_properties_part1.csv"] + f"{T},1,888,\n"},
        {"events": FILES["events.csv"] + f"{T},8,view,2,\n" * 2},
        {"category_tree": FILES["category_tree.csv"].encode() + b"\x00\xff\n"},
    ],
)
def test_files_of_all_formats(folder, change):
    data = read(folder(**change))
    assert rows(data) == EXPECTED
    assert data.properties.as_of(T + 2)["category_path"].map(str).sort_values().tolist() == ["[1, 5]", "nan"]
    repeated = change.get("events", "").count(f"{T},8,view,2,") - 1
    assert data.notes.get("rows repeated exactly, dropped", 0) == max(repeated, 0)


def test_rows_of_one_time_keep_the_order_of_the_file(folder):
    lines = [f"{T},7,view,3,", f"{T - 1},-1,view,3,", f"{T},7,view,1,", f"{T},7,view,2,"]
    data = read(folder(events=HEADER + "\n".join(lines)), item_properties=())
    assert rows(data) == [(7, item, 0, "view") for item in (3, 1, 2)]
    assert data.notes == {"rows of the visitor -1, dropped": 1}


def test_events_are_kept_and_weighted(folder):
    weighed = read(folder(), event_weights={"view": 0.5})
    assert weighed.weight.tolist() == [0.5, 0.5, 0.5, 1]
    views = read(folder(), events=("view",), item_properties=())
    assert views.time.tolist() == [T, T + 1, T + 2]
    assert views.notes["rows of events that data.events does not keep, dropped"] == 1


def test_of_two_values_at_the_same_time_that_of_the_later_file_counts(folder):
    data = read(folder(item_properties_part2=FILES["item_properties_part2.csv"] + f"{T + 2},1,categoryid,1\n"))
    assert data.properties.as_of(T + 2)["category_path"].map(str).sort_values().tolist() == ["[1]", "nan"]


def test_anonymous_rows_are_dropped(folder):
    data = read(folder(events=FILES["events.csv"] + f"{T},-1,view,2,\n" * 2))
    assert rows(data) == EXPECTED
    assert data.notes["rows of the visitor -1, dropped"] == 2
    assert "rows repeated exactly, dropped" not in data.notes


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        (
            "events",
            "transaction,1",
            "refund,1",
            r"line 5 of .*events\.csv has the unknown event 'refund' .* are view, add",
        ),
        ("events", f"{T},8,view", f"{T},8,", r"line 3 of .*events\.csv has no event \(1 such"),
        ("events", f"{T},8", f"{T},", r"line 3 of .*events\.csv has the visitorid '', not an integer"),
        ("events", "view,2,", "view,x2,", r"line 3 of .*events\.csv has the itemid 'x2', not an integer"),
        ("events", f"{T},8", f"{T}.5,8", r"line 3 of .* has the timestamp '1433000000000\.5', not an integer"),
        ("events", f"{T},8", f"{T // 1000},8", r"times in two units: line 3 of .*events\.csv has 1433000000 \(seconds"),
        ("events", f"{T},8", HEADER + f"{T},8", r"line 3 of .* has the visitorid 'visitorid', not an integer"),
        ("events", f"{T},8", f"{T},8,8", r"line 3 of .*events\.csv has 6 fields, the header has 5"),
        ("events", ",transactionid", ",itemid", r"events\.csv has 2 columns 'itemid': rename"),
        ("events", "visitorid", "visitor", r"events\.csv has no column 'visitorid'.*: it is a different file"),
        ("events", FILES["events.csv"], "", r"events\.csv is empty"),
        ("events", FILES["events.csv"], HEADER, r"events\.csv has a header but no rows"),
        ("events", "7,view", "7\xe9,view", r"line 2 of .*events\.csv is not UTF-8"),
        ("item_properties_part1", "n5", "\xe9", r"line 4 of .*part1\.csv is not UTF-8"),
        (
            "item_properties_part1",
            "categoryid,5",
            "categoryid,n5",
            r"line 2 of .*part1\.csv has the categoryid value",
        ),
        (
            "item_properties_part2",
            "available,0",
            "available,2",
            r"line 2 of .*part2\.csv has the available value 2, n",
        ),
        ("item_properties_part2", f"{T},9", f"{T},", r"line 3 of .*part2\.csv has the itemid '', not an integer"),
        ("item_properties_part2", f"{T},9,a", f"{T},a", r"line 3 of .*part2\.csv has 3 fields"),
        ("category_tree", "1,\n", "1,5\n", r"category_tree\.csv has a cycle"),
    ],
)
def test_errors_name_file_and_row(folder, file, old, new, message):
    content = FILES[f"{file}.csv"].replace(old, new, 1).encode("latin-1")
    assert content != FILES[f"{file}.csv"].encode()
    with pytest.raises(InputError, match=message):
        read(folder(**{file: content}))


def test_errors_name_a_row_far_down(folder):
    """Files are read in blocks, of which only rows of selected properties are kept."""
    filler = "".join(f"{T},{n},790,n1.000 {n * 7919 % 10007} {n}\n" for n in range(70_000))
    content = FILES["item_properties_part1.csv"] + filler
    assert len(content) > 2 << 20
    with pytest.raises(InputError, match=r"line 70005 of .*part1\.csv has the categoryid value 'x'"):
        read(folder(item_properties_part1=f"{content}{T},1,categoryid,x\n"))


@pytest.mark.parametrize("name", FILES)
def test_files_that_are_missing_or_truncated(folder, name):
    path = folder()
    packed = gzip.compress((path / name).read_bytes() * 50)
    (path / name).unlink()
    with pytest.raises(InputError, match=f"data.path=.* is not a folder with {name}"):
        read(path)
    for broken in (packed[: len(packed) // 2], packed[:12] + bytes(6) + packed[18:], packed[:-8] + bytes(8)):
        (path / f"{name}.gz").write_bytes(broken)
        with pytest.raises(InputError, match=rf"{name}\.gz is a truncated or corrupt compressed file"):
            read(path)
    assert (name in ("events.csv",)) or rows(read(path, item_properties=())) == EXPECTED


def test_a_path_is_required():
    with pytest.raises(InputError, match=r"set data\.path=FOLDER to the folder"):
        retailrocket()


def test_categories_missing_from_the_tree_are_roots(folder):
    data = read(folder(category_tree="categoryid,parentid\n5,1\n9,77\n"))
    assert data.notes["parents without a row in category_tree.csv, taken as roots"] == 2
    data = read(folder(category_tree="categoryid,parentid\n9,\n"))
    assert data.notes["categories of items that category_tree.csv lacks, taken as roots"] == 2
    assert data.properties.as_of(T + 2)["category_path"].map(str).sort_values().tolist() == ["[5]", "nan"]
    with pytest.raises(InputError, match=r"item_properties has the unknown property 791: no row of"):
        read(folder(), item_properties=("791",))


OPTIONS = st.fixed_dictionaries(
    {
        "target_event": st.sampled_from([None, "transaction"]),
        "visitors": st.sampled_from([None, 150]),
        "max_per_user": st.sampled_from([None, 1, 3, 25]),
        "duplicates": st.sampled_from(["last", "first", "keep"]),
        "min_per_item": st.integers(0, 3),
        "min_per_user": st.integers(0, 3),
        "min_targets": st.integers(0, 1),
        "k_core": st.integers(0, 3),
    }
)


def rarest(frame: pd.DataFrame) -> pd.Series:
    """Return the smaller of the counts of visitor and item of each row."""
    return frame[["visitorid", "itemid"]].apply(lambda ids: ids.map(ids.value_counts())).min(axis=1)


@settings(deadline=None, max_examples=25, database=None)
@given(OPTIONS)
def test_filters_against_pandas(made, options):
    """The documented steps in order, by group and transform."""
    frame = pd.read_csv(made / "events.csv").drop(columns="transactionid").drop_duplicates()
    frame = frame.sort_values("timestamp", kind="stable")
    if options["visitors"]:
        users = np.sort(frame["visitorid"].unique())
        frame = frame[frame["visitorid"].isin(np.random.default_rng(0).permutation(users)[: options["visitors"]])]
    if options["max_per_user"]:
        frame = frame[frame.groupby("visitorid")["itemid"].transform("size") <= options["max_per_user"]]
    if options["duplicates"] != "keep":
        frame = frame.drop_duplicates(["visitorid", "itemid", "event"], keep=options["duplicates"])
    frame = frame[frame.groupby("itemid")["itemid"].transform("size") >= options["min_per_item"]]
    frame = frame[frame.groupby("visitorid")["itemid"].transform("size") >= options["min_per_user"]]
    wanted = frame["event"] == "transaction" if options["target_event"] else frame["event"].notna()
    frame = frame[wanted.groupby(frame["visitorid"]).transform("sum") >= options["min_targets"]]
    while (rare := rarest(frame) < options["k_core"]).any():
        frame = frame[~rare]
    if frame.empty:
        with pytest.raises(InputError, match=r"no rows remain|data\.k_core=. drops all"):
            read(made, item_properties=(), **options)
        return
    data = read(made, item_properties=(), **options)
    expected = frame[["visitorid", "itemid", "timestamp", "event"]].assign(timestamp=frame["timestamp"] - T)
    assert rows(data) == list(expected.itertuples(index=False, name=None))
    assert len(data) + sum(n for reason, n in data.notes.items() if "dropped" in reason) == SIZES["n_events"]
    if options["target_event"]:
        assert data.target.tolist() == (frame["event"] == "transaction").tolist()


def test_the_seed_sets_the_sample_of_visitors(made):
    one, other, again = (set(read(made, visitors=50, seed=seed).user_ids) for seed in (1, 2, 1))
    assert len(one) == len(other) == 50
    assert one == again != other
    with pytest.raises(InputError, match=r"no rows remain: .* data\.min_per_user=999"):
        read(made, min_per_user=999)


def test_the_cache_returns_the_same_data(made, tmp_path, monkeypatch):
    monkeypatch.setenv("JAXREC_CACHE", str(tmp_path))
    options = {"target_event": "transaction", "event_weights": {"view": 0.5}}
    first, second = retailrocket(made, **options), retailrocket(made, **options)
    fresh = read(made, **options)
    for data in (first, second):
        for column in COLUMNS:
            np.testing.assert_array_equal(getattr(data, column), getattr(fresh, column))
        pd.testing.assert_frame_equal(data.properties.values, fresh.properties.values)
        assert (data.notes, data.event_names) == (fresh.notes, EVENTS)
    assert len(list((tmp_path / "prepared").iterdir())) == 1
    assert {field.name for field in fields(fresh)} >= {"properties"}


def test_synthetic_files_resemble_real_ones(made, tmp_path):
    events = pd.read_csv(made / "events.csv")
    assert len(events) == SIZES["n_events"]
    assert events["visitorid"].nunique() == SIZES["n_visitors"]
    assert (events["transactionid"].notna() == (events["event"] == "transaction")).all()
    assert (np.diff(events["timestamp"]) < 0).any()
    first = events.groupby(["visitorid", "itemid", "event"])["timestamp"].min().unstack()
    assert (first["addtocart"].dropna() > first["view"].reindex(first["addtocart"].dropna().index)).all()
    assert (first["transaction"].dropna() > first["addtocart"].reindex(first["transaction"].dropna().index)).all()
    stated = [pd.read_csv(made / f"item_properties_part{n}.csv") for n in (1, 2)]
    assert sum(map(len, stated)) == SIZES["n_properties"]
    assert pd.concat(stated).groupby("property").size().index.isin(["categoryid", "available"]).sum() == 2
    again = write(tmp_path / "again", **SIZES)
    for file in made.iterdir():
        assert file.read_bytes() == (again / file.name).read_bytes()
    with pytest.raises(InputError, match="too few for one of each of 100 visitors"):
        write(tmp_path / "no", n_events=100, n_visitors=100)


@pytest.mark.shared_data
def test_the_real_reduction_with_events(shared_data):
    path = shared_data / "retailrocket-filtered.parquet"
    columns = {"user_column": "visitorid", "item_column": "itemid", "event_column": "event"}
    data = files(path, **columns, target_event="transaction", event_weights={"view": 0.1, "addtocart": 0.3})
    assert (data.n_users, data.n_items, len(data)) == (3_431, 8_885, 92_487)
    named = dict(zip(data.event_names, np.bincount(data.event).tolist(), strict=True))
    assert named == {"view": 78_371, "addtocart": 9_028, "transaction": 5_088}
    assert data.target.sum() == 5_088
    assert data.weight.astype(float).sum() == pytest.approx(7_837.1 + 2_708.4 + 5_088, rel=1e-5)
    frame = pd.read_parquet(path)
    bought = frame[frame["event"] == "transaction"].groupby("visitorid").size()
    split = leave_one_out(data)
    assert len(split.test.target) == (bought >= 3).sum()
    assert split.test.known.target.sum() == 5_088 - (bought >= 3).sum()
    unknown = r"data\.target_event has the unknown event 'buy': the events are addtocart, transaction, view"
    with pytest.raises(InputError, match=unknown):
        files(path, **columns, target_event="buy")


@pytest.mark.shared_data
def test_the_published_sessions_have_gaps_of_half_an_hour(shared_data):
    """Sessions start where those of the file do; rows missing from the file make a few gaps longer."""
    path = shared_data / "retailrocket-sample.parquet"
    data = files(path, time_column="timestamp", duplicates="keep")
    frame = pd.read_parquet(path).assign(ours=sessions(data)).sort_values(["user_id", "timestamp"], kind="stable")
    assert len(data) == 10_080
    same_user = frame["user_id"].diff() == 0
    theirs, ours = (same_user & (frame[name].diff() != 0) for name in ("session_id", "ours"))
    assert not (theirs & ~ours).any()
    assert 0 < (ours & ~theirs).sum() < 0.005 * len(data)
    assert frame["ours"].max() + 1 == ours.sum() + data.n_users


EDITS = st.lists(
    st.tuples(
        st.integers(0, 400), st.integers(0, 12), st.binary(max_size=3) | st.sampled_from([b"\n", b",", b'"', b"\r"])
    ),
    min_size=1,
    max_size=3,
)


@settings(deadline=None, max_examples=25, database=None)
@given(st.sampled_from(sorted(FILES)), EDITS)
def test_damaged_files_are_data_or_a_clear_error(tmp_path_factory, name, edits):
    folder = tmp_path_factory.mktemp("edited")
    for other, content in FILES.items():
        raw = content.encode()
        for start, length, more in edits if other == name else ():
            start %= len(raw) + 1
            raw = raw[:start] + more + raw[start + length :]
        (folder / other).write_bytes(raw)
    try:
        data, message = read(folder), ""
    except InputError as error:
        data, message = None, str(error)
    assert (name in message) or ("item_properties has the unknown property" in message) or (data and not message)
    if data:
        assert len(data) == len(data.time) > 0
        assert (np.diff(data.time) >= 0).all()
        assert len(data.properties.as_of(T + 5)) == data.n_items
