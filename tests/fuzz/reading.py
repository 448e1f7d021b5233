"""Fuzzing of data files and feature files: an InputError, or all rows, where dropped ones are counted in notes."""

import csv
import functools
import gzip
import io
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import strategies as st

from jaxrec.data.interactions import Interactions
from jaxrec.data.sources.files import files
from jaxrec.data.splits.split import holdout
from jaxrec.errors import InputError
from tests.fuzz.target import Target, damaged, one_line
from tests.fuzz.values import NUMBERS, TIMES, cells, damages

SUFFIXES = (".csv", ".tsv", ".inter", ".csv.gz", ".csv.zst", ".parquet")
COLUMNS = ("user_id", "item_id", "value", "time", "event", "label", "position")
ids = st.sampled_from(["1", "2", "3", "u", "v", "7.0", "-1", "", "nan"]) | cells
of_column = {
    "user_id": ids,
    "item_id": ids,
    "value": st.sampled_from(["1", "3", "4.5"]) | st.sampled_from(NUMBERS) | cells,
    "time": st.sampled_from(["1", "2"]) | st.sampled_from(TIMES) | cells,
    "event": st.sampled_from(["view", "buy"]) | cells,
    "label": st.sampled_from(["0", "1"]) | cells,
    "position": st.sampled_from(["1", "2"]) | st.sampled_from(NUMBERS) | cells,
}
options = st.fixed_dictionaries(
    {},
    optional={
        "value_column": st.just("value"),
        "time_column": st.just("time"),
        "event_column": st.just("event"),
        "label_column": st.just("label"),
        "position_column": st.just("position"),
        "target_event": st.sampled_from(["buy", "view"]),
        "delimiter": st.sampled_from([",", "\t", ";", "|", "tab", "", "ab", "\n", '"']),
        "decimal": st.sampled_from([".", ","]),
        "min_value": st.sampled_from([0.0, 3.0, 1e30]),
        "negative": st.sampled_from(["error", "keep"]),
        "duplicates": st.sampled_from(["first", "last", "error", "keep"]),
        "k_core": st.integers(0, 3),
        "anonymous": st.sampled_from(["error", "drop", "keep"]),
        "quantity": st.sampled_from(["raw", "log", "rank"]),
        "encoding": st.sampled_from(["utf-8", "latin-1", "utf-16", "no such", "cp1252"]),
    },
)


@st.composite
def case(draw: st.DrawFn, columns: tuple[str, ...] = COLUMNS) -> dict[str, Any]:
    """A text table, its file format and damage, and the settings to read it."""
    chosen = draw(options)
    used = [name for name in columns if name in columns[:2] or f"{name}_column" in chosen]
    rows = draw(st.lists(st.tuples(*(of_column.get(name, cells) for name in used)), max_size=8))
    damage = draw(damages) if draw(st.integers(0, 2)) == 0 else []
    return {"columns": used, "rows": rows, "suffix": draw(st.sampled_from(SUFFIXES)), "damage": damage, "how": chosen}


def content(columns: list[str], rows: list[tuple[str, ...]], suffix: str) -> bytes:
    """The bytes of a file with these rows."""
    if suffix == ".parquet":
        table = pa.table({name: [row[place] for row in rows] for place, name in enumerate(columns)})
        pq.write_table(table, file := io.BytesIO())
        return file.getvalue()
    text = io.StringIO()
    delimiter = "," if suffix.startswith(".csv") else "\t"
    if suffix == ".inter":  # never quoted
        rows = [tuple("".join(c for c in cell if c not in "\t\r\n") for cell in row) for row in rows]
        text.write("\n".join("\t".join(row) for row in [tuple(columns), *rows]) + "\n")
    else:
        csv.writer(text, delimiter=delimiter, lineterminator="\n").writerows([columns, *rows])
    whole = text.getvalue().encode("utf-8", "replace")
    if suffix.endswith(".gz"):
        return gzip.compress(whole, 1, mtime=0)
    return pa.compress(whole, "zstd", asbytes=True) if suffix.endswith(".zst") else whole


@functools.cache
def folder() -> Path:
    """Return the temporary folder of this process."""
    return Path(tempfile.mkdtemp(prefix="fuzz-"))


def read(found: dict[str, Any], **more: Any) -> Interactions | None:
    """Read a case; None if it is refused."""
    path = folder() / f"data{found['suffix']}"
    path.write_bytes(damaged(content(found["columns"], found["rows"], found["suffix"]), found["damage"]))
    try:
        return files(path, **found["how"], **more)
    except InputError as error:
        one_line(error)
        return None


def check_files(found: dict[str, Any]) -> None:
    """Every row is read or counted in notes; none is lost silently."""
    data = read(found)
    if data is None:
        return
    assert len(data) > 0
    assert data.user.min() >= 0
    assert data.item.min() >= 0
    assert data.user.max() < data.n_users
    assert data.item.max() < data.n_items
    for column in (data.value, data.weight):
        assert column is None or np.isfinite(column).all()
    assert data.position is None or data.position.min() >= 1
    whole_lines = found["suffix"] != ".inter" and not any(not any(row) for row in found["rows"])
    if not found["damage"] and whole_lines and not {"delimiter", "encoding"} & found["how"].keys():
        dropped = sum(count for note, count in data.notes.items() if note.startswith("rows") and "dropped" in note)
        negatives = 0 if data.negatives is None else len(data.negatives[0])
        assert len(data) + negatives + dropped == len(found["rows"]), data.notes


NAMES = ("item_id", "title", "genres:token_seq", "price:float", "year", "class:token")


@st.composite
def feature_case(draw: st.DrawFn) -> dict[str, Any]:
    """Generate a feature file for fixed interactions."""
    used = ["item_id", *draw(st.lists(st.sampled_from([*NAMES[1:], "", "a,b", "title"]), max_size=4))]
    rows = draw(st.lists(st.tuples(st.sampled_from("abcdef") | ids, *(cells for _ in used[1:])), max_size=8))
    kinds = {
        kind: draw(st.lists(st.sampled_from([name.split(":")[0] for name in used]), max_size=2).map(tuple))
        for kind in ("categorical", "multi_valued", "numerical")
        if draw(st.integers(0, 3)) == 0
    }
    more = draw(st.fixed_dictionaries({}, optional={"max_text": st.integers(1, 5), "separator": st.sampled_from("|,")}))
    damage = draw(damages) if draw(st.integers(0, 2)) == 0 else []
    return {"columns": used, "rows": rows, "suffix": draw(st.sampled_from(SUFFIXES[:5])), "damage": damage} | {
        "how": kinds | more
    }


def check_features(found: dict[str, Any]) -> None:
    """A feature file is refused, or gives one row of finite features for each item, also after the split."""
    log = folder() / "log.csv"
    if not log.exists():
        log.write_text("user_id,item_id\n" + "".join(f"{n % 7},{'abcdef'[n % 6]}\n" for n in range(42)))
    path = folder() / f"items{found['suffix']}"
    path.write_bytes(damaged(content(found["columns"], found["rows"], found["suffix"]), found["damage"]))
    try:
        data = files(log, item_features=path, **found["how"])
        train = holdout(data).selection.train
    except InputError:
        return
    assert data.n_items == len(data.item_features) == 6
    if train.encoded is not None and train.encoded.of_items is not None:
        assert np.isfinite(train.encoded.of_items.numbers).all()


FILES = Target(case(), check_files)
FEATURES = Target(feature_case(), check_features)
