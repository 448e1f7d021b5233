"""Online Retail II: two years of invoices of a British wholesaler of gifts.   [Chen et al. 2012; UCI, CC BY 4.0]

The file has a row for each line of an invoice, and rows that are no purchases of anybody. In this order:

1. The spreadsheet's two years overlap by nine days, whose invoices are in both. Where time goes back once in a file,
   the second year starts there, and its invoices that the first year has go.
2. Stock codes are read without blanks around them and in capitals (15056bl and 15056BL are one parasol). A product's is
   five digits and up to three letters, or DCGS… or SP…; rows of all others go: postage, vouchers, charges.
3. Rows of a price of 0 or less go: they correct the stock or the books, or are gifts.
4. Rows of quantity 0 go, and those whose sign does not fit: below 0 in an invoice, above 0 in a cancellation.
5. Rows without a customer go or become one (`anonymous`).
6. Lines of one invoice and item are summed.
7. Cancellations (invoices C…) take back what their customer bought of the item before, the latest first, or go
   (`cancellations`). Netting is the default since a purchase that was taken back is no choice of that item. What is
   left of a purchase is then known from its first day: with split=global_time, choose `drop` if that matters to you.

Each rule's rows are counted in `Interactions.notes`.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import NonNegativeInt

from jaxrec.data.interactions import Duplicates, Interactions, encode, filtered
from jaxrec.data.notes import Notes, occurred
from jaxrec.data.reading import tables
from jaxrec.data.reading.anonymous import Anonymous, nobody_as_null, settled
from jaxrec.data.reading.quantities import Quantity, QuantityAs, weighed
from jaxrec.data.reading.times import Where, milliseconds
from jaxrec.errors import InputError

COLUMNS = {  # ours → theirs, in the second edition and in the first
    "invoice": ("Invoice", "InvoiceNo"),
    "item_id": ("StockCode",),
    "description": ("Description",),
    "quantity": ("Quantity",),
    "time": ("InvoiceDate",),
    "price": ("Price", "UnitPrice"),
    "user_id": ("Customer ID", "CustomerID"),
    "country": ("Country",),
}
MAY_MISS = ("description", "user_id", "country")
PRODUCT = r"\d{5}[A-Z]{0,3}|DCGS\w+|SP\d+"
NO_PRODUCTS = {  # stock codes → what their rows are
    r"POST|DOT|C2|C3": "rows of postage and carriage, dropped",
    r"GIFT.*": "rows of gift vouchers, dropped",
    r"ADJUST\d*|AMAZONFEE|B|BANK CHARGES|CRUK|D|M|S|TEST\d*": "rows of fees, discounts, corrections, samples, dropped",
    rf"(?!(?:{PRODUCT})$).*": "rows of stock codes of an unknown kind, dropped",
}


def online_retail(
    path: str | Path | None = None,
    cancellations: Literal["net", "drop"] = "net",
    anonymous: Anonymous = "drop",
    quantity: Quantity = "log",
    quantity_as: QuantityAs = "value",
    min_value: float | None = None,
    duplicates: Duplicates = "keep",
    k_core: NonNegativeInt = 0,
    encoding: str = "utf-8",
) -> Interactions:
    """Purchases of Online Retail II, or of its first edition, in the order of the file; see the rules above.

    path: .xlsx (all its sheets), .csv (also .gz, .zst), .parquet; the columns of either edition
    quantity, quantity_as: see `jaxrec.data.reading.quantities`
    min_value: of the quantity; duplicates (of one customer and item in several invoices), k_core: see `filtered`
    encoding: of a .csv

    Item features: description (the most frequent), price (the median, in pounds). User feature: country (the most
    frequent). Raises InputError for what cannot be read, naming the row.
    """
    if path is None:
        raise InputError("data.path=FILE is needed: fetch Online Retail II from the UCI repository (data set 502)")
    path = Path(path)
    frame, notes = _products(*_typed(*_read(path, encoding)))
    frame, nobody = settled(frame, anonymous)
    price = frame.groupby("item_id", observed=True)["price"].median()
    items = pd.DataFrame({"description": _mode(frame, "item_id", "description"), "price": price}).reset_index()
    users = _mode(frame, "user_id", "country").reset_index()
    frame, returned = _netted(*_summed(frame), cancellations)
    frame, filtered_out = filtered(frame, min_value=min_value, duplicates=duplicates, k_core=k_core)
    return encode(
        weighed(frame, quantity, quantity_as),
        user_features=users,
        item_features=items,
        notes=notes | nobody | returned | filtered_out,
        name="Online Retail II",
    )


def _read(path: Path, encoding: str) -> tuple[pa.Table, Where]:
    """The columns under our names, and what says where a row stands."""
    if path.suffix.lower() == ".xlsx":
        table = _sheets(path)
        return table, lambda row: f"row {row + 1} of {path} (below the column names, sheets in their order)"
    header = tables.header(path)
    table = tables.read(path, _spelled(path, header), encoding=encoding)
    return table, lambda row: tables.place(path, row)


def _spelled(path: Path, header: Sequence[str]) -> dict[str, str]:
    """Our column names → those of the file."""
    spelled = {name: next((theirs for theirs in known if theirs in header), "") for name, known in COLUMNS.items()}
    missing = [" or ".join(map(repr, COLUMNS[name])) for name, theirs in spelled.items() if not theirs]
    if missing:
        raise InputError(
            f"{path} is not Online Retail II: it has no column {', '.join(missing)}, only "
            f"{', '.join(map(repr, header))}; read other files with data=files"
        )
    return spelled


def _sheets(path: Path) -> pa.Table:
    """All sheets of a spreadsheet, one after the other, as text."""
    if not path.exists():
        raise InputError(f"there is no file {path}: check data.path")
    try:
        sheets = pd.read_excel(path, sheet_name=None, dtype=str, engine="openpyxl", keep_default_na=False)
    except ImportError as error:
        raise InputError(
            f"{path}: spreadsheets need openpyxl: pip install 'jaxrec[retail]', or save as .csv"
        ) from error
    except Exception as error:  # of zipfile, of XML, of openpyxl itself: they have nothing in common
        raise InputError(f"{path} is not a whole .xlsx file ({error}): fetch it again") from error
    frames = []
    for name, sheet in sheets.items():
        spelled = _spelled(Path(f"{path}, sheet {name}"), list(sheet.columns))
        frames.append(sheet[list(spelled.values())].set_axis(list(spelled), axis=1))
    return pa.table({name: pa.array(pd.concat(frames)[name].astype(str), pa.string()) for name in COLUMNS})


def _typed(table: pa.Table, where: Where) -> tuple[pd.DataFrame, Notes]:
    """Columns of text, numbers and milliseconds; ids are categories, -1 where there is no customer."""
    text = {}
    for name in COLUMNS:
        column = table[name]
        if name in ("quantity", "price", "time") and pa.types.is_primitive(column.type):
            text[name] = column
            continue
        column = pc.utf8_trim_whitespace(column.cast(pa.string()))
        text[name] = pc.if_else(pc.equal(column, ""), None, column)
    for name, column in text.items():
        if column.null_count and name not in MAY_MISS:
            row = pc.index(pc.is_null(column), True).as_py()
            raise InputError(
                f"{where(row)} has no {COLUMNS[name][0]} ({column.null_count:,} such rows): fill it or delete the row"
            )
    users = pc.replace_substring_regex(text["user_id"], r"\.0$", "")  # 13085.0, as columns with gaps are often written
    codes = pc.utf8_upper(text["item_id"])
    frame = pd.DataFrame(
        {
            "invoice": pc.utf8_upper(text["invoice"]).to_pandas(),
            "item_id": codes.dictionary_encode().to_pandas(),
            "description": text["description"].to_pandas(),
            "quantity": _numbers(text["quantity"], "quantity", where),
            "time": milliseconds(text["time"], where),
            "price": _numbers(text["price"], "price", where),
            "user_id": nobody_as_null(users).dictionary_encode().to_pandas(),
            "country": text["country"].to_pandas(),
        }
    )
    respelled = pc.sum(pc.not_equal(codes, table["item_id"].cast(pa.string()))).as_py()
    return frame, occurred({"rows whose stock code had small letters or blanks, mended": respelled})


def _numbers(column: pa.ChunkedArray, name: str, where: Where) -> np.ndarray:
    """A column of numbers, or of text that holds them, to float64 [N]."""
    try:
        numbers = column.cast(pa.float64()).to_numpy()
    except pa.ArrowInvalid:
        numbers = pd.to_numeric(column.to_pandas(), errors="coerce").to_numpy(np.float64)
    broken = np.flatnonzero(~np.isfinite(numbers))
    if len(broken):
        row = int(broken[0])
        raise InputError(
            f"{where(row)} has the {name} {column[row].as_py()!r}, not a number ({len(broken):,} such rows): mend it"
        )
    return numbers


def _products(frame: pd.DataFrame, notes: Notes) -> tuple[pd.DataFrame, Notes]:
    """The rows that rules 1 to 4 leave."""
    codes, canceled = frame["item_id"].cat, frame["invoice"].str.startswith("C")
    quantity = frame["quantity"]
    rules: dict[str, Any] = {"rows of invoices that both years hold, the second time dropped": _copies(frame)}
    for pattern, reason in NO_PRODUCTS.items():
        rules[reason] = codes.categories.str.fullmatch(pattern)[codes.codes]
    # A row may meet several rules and counts under the first: gift vouchers are codes of an unknown kind as well.
    rules |= {
        "rows of a price of 0 or less, dropped": frame["price"] <= 0,
        "rows of quantity 0, dropped": quantity == 0,
        "rows of a negative quantity that are no cancellation, dropped": (quantity < 0) & ~canceled,
        "rows of a cancellation with a positive quantity, dropped": (quantity > 0) & canceled,
    }
    dropped = np.zeros(len(frame), bool)
    for reason, rule in rules.items():
        mask = np.asarray(rule, bool) & ~dropped
        notes |= occurred({reason: int(mask.sum())})
        dropped |= mask
    if dropped.all():
        raise InputError(f"no row of the {len(frame):,} is a purchase or its cancellation: {_told(notes)}")
    return frame[~dropped], notes


def _copies(frame: pd.DataFrame) -> np.ndarray:
    """Mask [N] of the rows of the second year whose invoice the first has; see rule 1."""
    back = np.flatnonzero(np.diff(frame["time"].to_numpy()) < 0)
    copied = np.zeros(len(frame), bool)
    if len(back) == 1:
        start = int(back[0]) + 1
        copied[start:] = frame["invoice"].iloc[start:].isin(frame["invoice"].iloc[:start].unique())
    return copied


def _summed(frame: pd.DataFrame) -> tuple[pd.DataFrame, Notes]:
    """One row an invoice and item, where its first line stands, with the time of that."""
    key = ["invoice", "user_id", "item_id"]
    lines = frame.groupby(key, sort=False, observed=True)
    summed = lines.agg(quantity=("quantity", "sum"), time=("time", "first")).reset_index()
    return summed, occurred({"further lines of an item in its invoice, summed into one": len(frame) - len(summed)})


def _netted(frame: pd.DataFrame, notes: Notes, cancellations: Literal["net", "drop"]) -> tuple[pd.DataFrame, Notes]:
    """Purchases, `value` being what is left of each, in the order of the frame; see rule 7."""
    canceled = frame["invoice"].str.startswith("C").to_numpy(bool)
    left, lost = frame["quantity"].to_numpy(), np.zeros(len(frame))
    if cancellations == "drop":
        notes |= occurred({"cancellations, dropped": int(canceled.sum())})
    else:
        left, lost = _last_in_first_out(frame)
        before = frame["quantity"].to_numpy()
        notes |= occurred(
            {
                "cancellations, taken from purchases before": int((canceled & (lost == 0)).sum()),
                "cancellations of more than was bought before, the rest ignored": int((canceled & (lost > 0)).sum()),
                "purchases canceled whole, dropped": int((~canceled & (left <= 0)).sum()),
                "purchases canceled in part, lowered": int((~canceled & (left > 0) & (left < before)).sum()),
            }
        )
    kept = ~canceled & (left > 0)
    if not kept.any():
        raise InputError(f"every purchase was canceled: {_told(notes)}")
    return frame[["user_id", "item_id", "time"]].assign(value=left)[kept], notes


def _last_in_first_out(frame: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """What is left of each purchase [N], and what of each cancellation [N] found no purchase before it.

    Of a customer and item, let H be what is held after each row. A purchase q on top of h is the layer from h to h + q,
    and what is left of it reaches up to the smallest H from then on.
    """
    user, item = frame["user_id"].cat.codes.to_numpy(), frame["item_id"].cat.codes.to_numpy()
    order = np.lexsort((frame["time"].to_numpy(), item, user))
    quantity = pd.Series(frame["quantity"].to_numpy()[order])
    pair = (user.astype(np.int64) * (int(item.max()) + 1) + item)[order]
    total = quantity.groupby(pair).cumsum()
    held = total - total.groupby(pair).cummin().clip(upper=0)  # never below none: what was not there is not taken
    before = held.groupby(pair).shift(fill_value=0.0)
    lowest = held[::-1].groupby(pair[::-1]).cummin()[::-1]
    left, lost = np.empty(len(frame)), np.empty(len(frame))
    left[order] = np.where(quantity > 0, (lowest - before).clip(lower=0), 0)
    lost[order] = np.where(quantity < 0, -quantity - (before - held), 0)
    return left, lost


def _mode(frame: pd.DataFrame, key: str, column: str) -> pd.Series:
    """The most frequent value of a column by id; the first in the alphabet among equals."""
    counts = frame.groupby([key, column], observed=True).size().reset_index(name="n")
    counts = counts.sort_values([key, "n", column], ascending=[True, False, True])
    return counts.drop_duplicates(key).set_index(key)[column]


def _told(notes: Notes) -> str:
    return "; ".join(f"{rows:,} {reason}" for reason, rows in notes.items())
