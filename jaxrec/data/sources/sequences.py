"""Text files of interaction sequences without times, as published with many papers.

pairs: one user and item per line, in order (the files of SASRec, BERT4Rec, …)
lists: one user per line, followed by the items: "user item item item …"
"""

import io
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
from pydantic import NonNegativeInt

from jaxrec.data.filters import Duplicates, filtered
from jaxrec.data.ids import exact, whole_numbers
from jaxrec.data.interactions import Interactions, encode
from jaxrec.data.reading import tables
from jaxrec.errors import InputError

Layout = Literal["pairs", "lists"]


def sequences(
    path: str | Path,
    layout: Layout = "pairs",
    duplicates: Duplicates = "keep",
    k_core: NonNegativeInt = 0,
) -> Interactions:
    """Read interactions from a text file, in its order.

    Ids are separated by blanks or tabs and must not contain them. The lines of a user need not be consecutive.

    Args:
        path: any name; .gz and .zst are decompressed.
        layout: pairs or lists, see the module docstring.
        duplicates, k_core: see `filtered`; sequences often contain an item twice.

    Raises:
        InputError: a line cannot be read.
    """
    path = Path(path)
    lines = _lines(path)
    fields = pc.utf8_split_whitespace(pc.utf8_trim_whitespace(lines))
    count = np.where(pc.equal(pc.utf8_trim_whitespace(lines), ""), 0, pc.list_value_length(fields))
    if layout == "pairs" and (broken := np.flatnonzero((count != 0) & (count != 2))).size:
        ids_found = "one id" if count[broken[0]] == 1 else f"{count[broken[0]]} ids"
        raise InputError(
            f"line {broken[0] + 1} of {path} has {ids_found}, but data.layout=pairs needs two, a user and an item: "
            "fix it, or set data.layout=lists"
        )
    lists = fields.filter(pa.array(count >= 2))
    if not len(lists):
        raise InputError(f"{path} has no line with a user and an item")
    # In the flat ids, the first of each list is the user, the others are that user's items.
    ids, length = lists.combine_chunks().flatten(), count[count >= 2]
    first = np.cumsum(length) - length
    is_item = np.ones(len(ids), bool)
    is_item[first] = False
    line = np.flatnonzero(count >= 2) + 1
    owner = np.repeat(np.arange(len(length)), length - 1)
    users = exact(pa.chunked_array([ids.take(pa.array(first))]), "users", lambda row: f"line {line[row]} of {path}")
    if len(users) > 1 and pa.types.is_string(users.type) and whole_numbers(users[1:]) is not None:
        raise InputError(
            f"{path} starts with {lines[int(np.argmax(count >= 2))].as_py()!r}, but all other users are numbers: "
            "delete that line if it is a header, or read the file with data=files"
        )
    items = pa.chunked_array([ids.filter(pa.array(is_item))])
    items = exact(items, "items", lambda row: f"line {line[owner[row]]} of {path}")
    frame = pd.DataFrame({"user_id": _categorical(users).repeat(length - 1), "item_id": _categorical(items)})
    frame, filtered_out = filtered(frame, duplicates=duplicates, k_core=k_core)
    n_empty = int((count == 1).sum())
    notes = ({"users without items, dropped": n_empty} if n_empty else {}) | filtered_out
    return encode(frame, notes=notes, name=path.resolve().name.split(".")[0])


def _lines(path: Path) -> pa.ChunkedArray:
    """Read the lines of a text file, including blank ones."""
    tables.present(path)
    try:
        with pa.input_stream(path) as stream:
            lines = pyarrow.csv.read_csv(
                stream,
                pyarrow.csv.ReadOptions(column_names=["line"]),
                # Only line ends are special, as text does not contain \1.
                pyarrow.csv.ParseOptions(delimiter="\1", quote_char=False, ignore_empty_lines=False),
                pyarrow.csv.ConvertOptions(column_types={"line": pa.string()}),
            )["line"]
    except OSError as error:
        raise InputError(f"{path} is truncated, corrupt or unreadable ({error}): download or write it again") from error
    except pa.ArrowInvalid as error:
        raise InputError(f"{_fault(path)}: save the file as UTF-8 ({error})") from error
    if pc.any(pc.match_substring(lines, "\0")).as_py():  # e.g. UTF-16
        raise InputError(f"{_fault(path)}: save the file as UTF-8")
    return lines


def _fault(path: Path) -> str:
    """Describe where a file is not text."""
    with pa.input_stream(path) as stream:
        for line, content in enumerate(io.BufferedReader(stream), 1):
            try:
                is_text = not {"\0", "\1"} & set(content.decode())
            except UnicodeDecodeError:
                is_text = False
            if not is_text:
                return f"line {line} of {path} is not UTF-8 text"
    return f"{path} is not UTF-8 text"


def _categorical(ids: pa.ChunkedArray) -> pd.Categorical:
    """Convert ids to a categorical, so that each distinct id is processed once."""
    codes = ids.combine_chunks().dictionary_encode()
    return pd.Categorical.from_codes(codes.indices.to_numpy(), codes.dictionary.to_numpy(zero_copy_only=False))
