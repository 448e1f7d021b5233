"""A few rows of each file of The Complete Journey."""

import pandas as pd

from jaxrec.data.sources.complete_journey import DEMOGRAPHICS as COLUMNS

BOUGHT = ["household_id", "store_id", "basket_id", "product_id", "quantity", "sales_value", "transaction_timestamp"]
# fmt: off
TRANSACTIONS = [
    (900, 330, 1, 1095275, 1,     0.50, "2017-01-01 11:53:26"),
    (900, 330, 2, 9878513, 3,     0.99, "2017-01-01 12:10:28"),
    (906, 319, 3, 1095275, 2,     1.43, "2017-01-01 12:26:30"),
    (906, 319, 3, 259120,  10601, 30.0, "2017-01-01 12:26:30"),  # fuel
    (906, 319, 3, 26081,   9000,  25.0, "2017-01-01 12:26:30"),  # fuel, in another department
    (906, 319, 3, 31190,   1,     0.00, "2017-01-01 12:26:30"),  # a coupon
    (900, 319, 4, 9878513, 0,     0.00, "2017-01-02 09:00:00"),  # nothing
    (900, 319, 5, 1095275, 4,     2.00, "2017-01-03 09:00:00"),  # again
    (906, 319, 6, 77,      1,     2.00, "2017-01-04 09:00:00"),  # not listed
    (906, 319, 7, 77,      0,     2.00, "2017-01-05 09:00:00"),
]
PRODUCTS = [
    (1095275, 69, "PASTRY",        "Private",  "ROLLS",             "ROLLS: BAGELS",           "4 OZ"),
    (9878513, 2,  "GROCERY",       "National", "FROZEN",            "ICE",                     None),
    (259120,  69, "FUEL",          "Private",  "FUEL",              "GASOLINE-REG UNLEADED",   None),
    (26081,   2,  "MISCELLANEOUS", "National", "COUPON/MISC ITEMS", "GASOLINE-REG UNLEADED",   None),
    (31190,   2,  "COUPON",        "National", "COUPONS/STORE",     "COUPONS/STORE & MFG",     None),
    (42,      2,  "GROCERY",       "National", None,                None,                      None),
]
DEMOGRAPHICS = [(900, "35-44", "35-49K", None, "Married", "2", "2 Adults No Kids", "0")]
# fmt: on


def tables() -> dict[str, pd.DataFrame]:
    bought = pd.DataFrame(TRANSACTIONS, columns=BOUGHT)
    columns = [
        "product_id",
        "manufacturer_id",
        "department",
        "brand",
        "product_category",
        "product_type",
        "package_size",
    ]
    return {
        "transactions": bought.assign(transaction_timestamp=pd.to_datetime(bought["transaction_timestamp"])),
        "products": pd.DataFrame(PRODUCTS, columns=columns),
        "demographics": pd.DataFrame(DEMOGRAPHICS, columns=["household_id", *COLUMNS]),
    }
