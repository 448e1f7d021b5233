"""Online Retail II: two years of invoices of a British gift wholesaler.   [Chen et al. 2012; UCI, CC BY 4.0]

The file has one row per invoice line, including rows that are not customer purchases. Rules, in this order:

1. The two years of the spreadsheet overlap by nine days, whose invoices are in both. If times decrease once in a file,
   the second year starts there, and its invoices that are also in the first year are dropped.
2. Stock codes are stripped and upper-cased (15056bl and 15056BL are the same parasol). Those of products have five
   digits and up to three letters, or start with DCGS or SP; all other rows are dropped: postage, vouchers, charges.
3. Rows with a price of 0 or less are dropped: corrections of stock or accounts, and gifts.
4. Rows with quantity 0 or the wrong sign are dropped: negative in an invoice, positive in a cancellation.
5. Rows without a customer are dropped or kept as one customer (`anonymous`).
6. Lines of the same invoice and item are summed.
7. Cancellations (invoices C…) reduce the customer's earlier purchases of the item, the latest first, or are dropped
   (`cancellations`). Netting is the default, as a canceled purchase is not a choice of the item. The remaining quantity
   is then known from the day of purchase, a leak from the future: use `drop` with split=global_time if that matters.

The rows affected by each rule are counted in `Interactions.notes`.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import NonNegativeInt

from jaxrec.data.filters import Duplicates, filtered
from jaxrec.data.interactions import Interactions, encode
from jaxrec.data.notes import Notes, nonzero
from jaxrec.data.reading import tables
from jaxrec.data.reading.anonymous import Anonymous, filter_anonymous, mark_anonymous
from jaxrec.data.reading.quantities import Quantity, QuantityAs, apply_quantity
from jaxrec.data.reading.times import Where, milliseconds
from jaxrec.errors import InputError

COLUMNS = {  # our column names → those of the second and the first edition
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
NO_PRODUCTS = {  # pattern of stock codes → note
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
    """Read the purchases of Online Retail II, or of its first edition, in file order; see the rules above.

    Item features: description (the most frequent), price (median, in pounds). User feature: country (the most
    frequent).

    Args:
        path: .xlsx (all sheets), .csv (also .gz, .zst) or .parquet, with the columns of either edition.
        cancellations: net or drop them, see rule 7.
        anonymous: treatment of rows without a customer, see `reading.anonymous`.
        quantity, quantity_as: see `reading.quantities`.
        min_value: smallest quantity to keep.
        duplicates: of a customer and item in several invoices, see `filtered`.
        k_core: see `filtered`.
        encoding: encoding of a .csv file.

    Raises:
        InputError: something cannot be read; the message names the row.
    """
    if path is None:
        raise InputError("set data.path=FILE to Online Retail II, downloaded from the UCI repository (data set 502)")
    path = Path(path)
    frame, notes = _products(*_typed(*_read(path, encoding)))
    frame, without_user = filter_anonymous(frame, anonymous)
    price = frame.groupby("item_id", observed=True)["price"].median()
    items = pd.DataFrame({"description": _mode(frame, "item_id", "description"), "price": price}).reset_index()
    users = _mode(frame, "user_id", "country").reset_index()
    frame, netted = _netted(*_summed(frame), cancellations)
    frame, filtered_out = filtered(frame, min_value=min_value, duplicates=duplicates, k_core=k_core)
    return encode(
        apply_quantity(frame, quantity, quantity_as),
        user_features=users,
        item_features=items,
        notes=notes | without_user | netted | filtered_out,
        name="Online Retail II",
    )


def _read(path: Path, encoding: str) -> tuple[pa.Table, Where]:
    """Read the columns under our names; also return a function that locates a row."""
    if path.suffix.lower() == ".xlsx":
        table = _sheets(path)
        return table, lambda row: f"row {row + 1} of {path} (below the column names, sheets in their order)"
    header = tables.header(path)
    table = tables.read(path, _spelled(path, header), encoding=encoding)
    return table, lambda row: tables.place(path, row)


def _spelled(path: Path, header: Sequence[str]) -> dict[str, str]:
    """Return our column names → those of the file."""
    names = {name: next((theirs for theirs in known if theirs in header), "") for name, known in COLUMNS.items()}
    missing = [" or ".join(map(repr, COLUMNS[name])) for name, theirs in names.items() if not theirs]
    if missing:
        raise InputError(
            f"{path} is not Online Retail II: it has no column {', '.join(missing)}, only "
            f"{', '.join(map(repr, header))}; read other files with data=files"
        )
    return names


def _sheets(path: Path) -> pa.Table:
    """Read all sheets of a spreadsheet, concatenated, as text."""
    if not path.exists():
        raise InputError(f"there is no file {path}: check data.path")
    try:
        sheets = pd.read_excel(path, sheet_name=None, dtype=str, engine="openpyxl", keep_default_na=False)
    except ImportError as error:
        raise InputError(
            f"{path}: spreadsheets need openpyxl: pip install 'jaxrec[retail]', or save as .csv"
        ) from error
    except Exception as error:  # from zipfile, XML and openpyxl, without a common base class
        raise InputError(f"{path} is not a valid .xlsx file ({error}): download it again") from error
    frames = []
    for name, sheet in sheets.items():
        names = _spelled(Path(f"{path}, sheet {name}"), list(sheet.columns))
        frames.append(sheet[list(names.values())].set_axis(list(names), axis=1))
    return pa.table({name: pa.array(pd.concat(frames)[name].astype(str), pa.string()) for name in COLUMNS})


def _typed(table: pa.Table, where: Where) -> tuple[pd.DataFrame, Notes]:
    """Convert the columns to text, numbers and milliseconds; ids are categorical, -1 for missing customers."""
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
    users = pc.replace_substring_regex(
        text["user_id"], r"\.0$", ""
    )  # 13085.0, as columns with missing values are often written
    codes = pc.utf8_upper(text["item_id"])
    frame = pd.DataFrame(
        {
            "invoice": pc.utf8_upper(text["invoice"]).to_pandas(),
            "item_id": codes.dictionary_encode().to_pandas(),
            "description": text["description"].to_pandas(),
            "quantity": _numbers(text["quantity"], "quantity", where),
            "time": milliseconds(text["time"], where),
            "price": _numbers(text["price"], "price", where),
            "user_id": mark_anonymous(users).dictionary_encode().to_pandas(),
            "country": text["country"].to_pandas(),
        }
    )
    respelled = pc.sum(pc.not_equal(codes, table["item_id"].cast(pa.string()))).as_py()
    return frame, nonzero({"rows whose stock code had lower-case letters or blanks, normalized": respelled})


def _numbers(column: pa.ChunkedArray, name: str, where: Where) -> np.ndarray:
    """Convert a column of numbers or their text to float64 [N]."""
    try:
        numbers = column.cast(pa.float64()).to_numpy()
    except pa.ArrowInvalid:
        numbers = pd.to_numeric(column.to_pandas(), errors="coerce").to_numpy(np.float64)
    broken = np.flatnonzero(~np.isfinite(numbers))
    if len(broken):
        row = int(broken[0])
        raise InputError(
            f"{where(row)} has the {name} {column[row].as_py()!r}, not a number ({len(broken):,} such rows): fix it"
        )
    return numbers


def _products(frame: pd.DataFrame, notes: Notes) -> tuple[pd.DataFrame, Notes]:
    """Apply rules 1 to 4."""
    codes, canceled = frame["item_id"].cat, frame["invoice"].str.startswith("C")
    quantity = frame["quantity"]
    rules: dict[str, object] = {"rows of invoices that both years hold, the second time dropped": _copies(frame)}
    for pattern, reason in NO_PRODUCTS.items():
        rules[reason] = codes.categories.str.fullmatch(pattern)[codes.codes]
    # Rows that match several rules count for the first: gift vouchers also are codes of an unknown kind.
    rules |= {
        "rows of a price of 0 or less, dropped": frame["price"] <= 0,
        "rows of quantity 0, dropped": quantity == 0,
        "rows with a negative quantity that are not cancellations, dropped": (quantity < 0) & ~canceled,
        "rows of a cancellation with a positive quantity, dropped": (quantity > 0) & canceled,
    }
    dropped = np.zeros(len(frame), bool)
    for reason, rule in rules.items():
        mask = np.asarray(rule, bool) & ~dropped
        notes |= nonzero({reason: int(mask.sum())})
        dropped |= mask
    if dropped.all():
        raise InputError(f"none of the {len(frame):,} rows is a purchase or its cancellation: {_listed(notes)}")
    return frame[~dropped], notes


def _copies(frame: pd.DataFrame) -> np.ndarray:
    """Return the mask [N] of second-year rows whose invoice is also in the first year; see rule 1."""
    back = np.flatnonzero(np.diff(frame["time"].to_numpy()) < 0)
    copied = np.zeros(len(frame), bool)
    if len(back) == 1:
        start = int(back[0]) + 1
        copied[start:] = frame["invoice"].iloc[start:].isin(frame["invoice"].iloc[:start].unique())
    return copied


def _summed(frame: pd.DataFrame) -> tuple[pd.DataFrame, Notes]:
    """Sum lines per invoice and item; position and time are those of the first line."""
    key = ["invoice", "user_id", "item_id"]
    lines = frame.groupby(key, sort=False, observed=True)
    summed = lines.agg(quantity=("quantity", "sum"), time=("time", "first")).reset_index()
    return summed, nonzero({"further lines of an item in its invoice, summed into one": len(frame) - len(summed)})


def _netted(frame: pd.DataFrame, notes: Notes, cancellations: Literal["net", "drop"]) -> tuple[pd.DataFrame, Notes]:
    """Return purchases with their remaining quantity as `value`, in the order of the frame; see rule 7."""
    canceled = frame["invoice"].str.startswith("C").to_numpy(bool)
    left, lost = frame["quantity"].to_numpy(), np.zeros(len(frame))
    if cancellations == "drop":
        notes |= nonzero({"cancellations, dropped": int(canceled.sum())})
    else:
        left, lost = _last_in_first_out(frame)
        before = frame["quantity"].to_numpy()
        notes |= nonzero(
            {
                "cancellations, taken from purchases before": int((canceled & (lost == 0)).sum()),
                "cancellations of more than was bought before, the rest ignored": int((canceled & (lost > 0)).sum()),
                "purchases canceled in full, dropped": int((~canceled & (left <= 0)).sum()),
                "purchases canceled in part, lowered": int((~canceled & (left > 0) & (left < before)).sum()),
            }
        )
    kept = ~canceled & (left > 0)
    if not kept.any():
        raise InputError(f"all purchases were canceled: {_listed(notes)}")
    return frame[["user_id", "item_id", "time"]].assign(value=left)[kept], notes


def _last_in_first_out(frame: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Return the remaining quantity of each purchase [N], and the unmatched quantity of each cancellation [N].

    For a customer and item, let H be the balance after each row. A purchase of q at balance h is the layer from h to
    h + q; its remaining quantity is the part below the minimum of H from then on.
    """
    user, item = frame["user_id"].cat.codes.to_numpy(), frame["item_id"].cat.codes.to_numpy()
    order = np.lexsort((frame["time"].to_numpy(), item, user))
    quantity = pd.Series(frame["quantity"].to_numpy()[order])
    pair = (user.astype(np.int64) * (int(item.max()) + 1) + item)[order]
    total = quantity.groupby(pair).cumsum()
    balance = total - total.groupby(pair).cummin().clip(upper=0)  # clipped at 0 when more is canceled than was bought
    before = balance.groupby(pair).shift(fill_value=0.0)
    lowest = balance[::-1].groupby(pair[::-1]).cummin()[::-1]
    left, lost = np.empty(len(frame)), np.empty(len(frame))
    left[order] = np.where(quantity > 0, (lowest - before).clip(lower=0), 0)
    lost[order] = np.where(quantity < 0, -quantity - (before - balance), 0)
    return left, lost


def _mode(frame: pd.DataFrame, key: str, column: str) -> pd.Series:
    """Return the most frequent value of a column by id, the alphabetically first on ties."""
    counts = frame.groupby([key, column], observed=True).size().reset_index(name="n")
    counts = counts.sort_values([key, "n", column], ascending=[True, False, True])
    return counts.drop_duplicates(key).set_index(key)[column]


def _listed(notes: Notes) -> str:
    return "; ".join(f"{rows:,} {reason}" for reason, rows in notes.items())
