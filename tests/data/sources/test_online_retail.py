import sys
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxrec.data.interactions import Interactions
from jaxrec.data.sources import online_retail as module
from jaxrec.data.sources.online_retail import online_retail
from jaxrec.errors import InputError

NAMES = ["Invoice", "StockCode", "Description", "Quantity", "InvoiceDate", "Price", "Customer ID", "Country"]
FIRST_EDITION = [
    "InvoiceNo",
    "StockCode",
    "Description",
    "Quantity",
    "InvoiceDate",
    "UnitPrice",
    "CustomerID",
    "Country",
]
UK = "United Kingdom"
# fmt: off
LINES = [
    ("489434", "85048",  "CHRISTMAS LIGHTS", 12, "2009-12-01 07:45:00", 6.95, 13085.0, UK),
    ("489434", "15056bl", "PARASOL",          4, "2009-12-01 07:45:00", 5.95, 13085.0, UK),
    ("489434", "15056BL", "BLACK PARASOL",    6, "2009-12-01 07:46:00", 5.95, 13085.0, UK),       # summed
    ("489434", "POST",   "POSTAGE",           1, "2009-12-01 07:46:00", 18.0, 13085.0, UK),       # not a product
    ("489435", "22041",  "RECORD FRAME",     48, "2009-12-01 07:46:00", 2.90, None, UK),          # no customer
    ("489436", "22041",  "RECORD FRAME",      8, "2009-12-02 10:00:00", 2.10, 13078.0, "EIRE"),
    ("489437", "85048",  None,               10, "2009-12-03 10:00:00", 7.05, 13078.0, UK),
    ("489437", "gift_0001_20", "Voucher",     1, "2009-12-03 10:00:00", 17.0, None, UK),          # a voucher
    ("489438", "M",      "Manual",            1, "2009-12-03 10:01:00", 9.99, 13078.0, UK),       # a correction
    ("489439", "PADS",   "PADS",              1, "2009-12-03 10:01:00", 0.01, 13078.0, UK),       # unknown
    ("489440", "21733",  "85123a mixed",    -96, "2009-12-03 10:02:00", 0.00, None, UK),          # without a price
    ("489441", "85048",  "CHRISTMAS LIGHTS",  0, "2009-12-03 10:03:00", 7.05, 13078.0, UK),       # without a quantity
    ("489442", "85048",  "CHRISTMAS LIGHTS", -2, "2009-12-03 10:03:00", 7.05, 13078.0, UK),       # the sign is wrong
    ("C489443", "85048", "CHRISTMAS LIGHTS",  2, "2009-12-03 10:03:00", 7.05, 13078.0, UK),       # here too
    ("489444", "85048",  "CHRISTMAS LIGHTS",  5, "2009-12-04 09:00:00", 7.15, 13078.0, "EIRE"),
    ("C489445", "85048", "CHRISTMAS LIGHTS", -7, "2009-12-05 09:00:00", 7.15, 13078.0, "EIRE"),   # 5, then 2 of the 10
    ("c489446", "22041", "RECORD FRAME",     -9, "2009-12-05 10:00:00", 2.10, 13078.0, "EIRE"),   # one too many
    ("489447", "22041",  "RECORD FRAME",      3, "2009-12-06 10:00:00", 2.30, 13078.0, "EIRE"),
]
# fmt: on
NETTED = [(13085, "85048", 12, "2009-12-01T07:45"), (13085, "15056BL", 10, "2009-12-01T07:45")]
NETTED += [(13078, "85048", 8, "2009-12-03T10:00"), (13078, "22041", 3, "2009-12-06T10:00")]
NOTES = {
    "rows whose stock code had lower-case letters or blanks, normalized": 2,  # the invoice of the voucher counts
    "rows of postage and carriage, dropped": 1,
    "rows of gift vouchers, dropped": 1,
    "rows of fees, discounts, corrections, samples, dropped": 1,
    "rows of stock codes of an unknown kind, dropped": 1,
    "rows of a price of 0 or less, dropped": 1,
    "rows of quantity 0, dropped": 1,
    "rows with a negative quantity that are not cancellations, dropped": 1,
    "rows of a cancellation with a positive quantity, dropped": 1,
    "rows without a user (missing, empty or -1), dropped": 1,
    "further lines of an item in its invoice, summed into one": 1,
    "cancellations, taken from purchases before": 1,
    "cancellations of more than was bought before, the rest ignored": 1,
    "purchases canceled in full, dropped": 2,
    "purchases canceled in part, lowered": 1,
}


def lines(rows=LINES, names=NAMES) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=names)


def rows(data: Interactions) -> list[tuple]:
    times = data.time.astype("datetime64[ms]").astype("datetime64[m]").astype(str).tolist()
    users, items = data.user_ids[data.user].tolist(), data.item_ids[data.item].tolist()
    return list(zip(users, items, data.value.tolist(), times, strict=True))


@pytest.fixture
def write(tmp_path):
    def write(frame: pd.DataFrame, name: str = "retail.parquet") -> Path:
        path = tmp_path / name
        if name.endswith(".parquet"):
            frame.to_parquet(path, index=False)
        elif name.endswith(".xlsx"):
            frame.assign(InvoiceDate=pd.to_datetime(frame["InvoiceDate"])).to_excel(path, index=False)
        else:
            frame.to_csv(path, index=False)
        return path

    return write


def read(path: Path, **options) -> Interactions:
    return online_retail(path, **({"quantity": "raw"} | options))


def test_every_rule_is_applied_and_counted(write):
    data = read(write(lines()))
    assert rows(data) == NETTED
    assert data.notes == NOTES
    assert data.name == "Online Retail II"


@pytest.mark.parametrize("names", [NAMES, FIRST_EDITION])
@pytest.mark.parametrize("name", ["r.parquet", "r.csv", "r.csv.gz", "r.xlsx"])
def test_every_format_and_edition_reads_the_same(write, names, name):
    data = read(write(lines(names=names), name))
    assert rows(data) == NETTED
    assert data.notes == NOTES


def test_parquet_with_its_own_types(write):
    frame = lines().assign(InvoiceDate=lambda f: pd.to_datetime(f["InvoiceDate"]))
    frame = frame.astype({"Customer ID": "Int64", "Country": "category", "StockCode": "category"})
    assert rows(read(write(frame))) == NETTED
    plain = lines([(489434, 85048, "LIGHTS", 12, "2009-12-01 07:45:00", 6, 13085, UK)])  # all invoices are numbers
    assert rows(read(write(plain))) == [(13085, 85048, 12, "2009-12-01T07:45")]


def test_the_first_edition_as_csv(tmp_path):
    """Latin-1, Windows line ends, month first."""
    path = tmp_path / "data.csv"
    text = f'{",".join(FIRST_EDITION)}\r\n536365,85123A,"HOLDER, £5",6,12/1/2010 8:26,2.55,17850,{UK}\r\n'
    text += f"536366,22633,WARMER,2,12/13/2010 8:28,1.85,17850,{UK}\r\n"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(
        InputError, match=r"line 2 of .*data.csv is not UTF-8: save it as UTF-8, .* \(data.encoding=latin-1\)"
    ):
        read(path)
    data = read(path, encoding="latin-1")
    assert rows(data) == [(17850, "85123A", 6, "2010-12-01T08:26"), (17850, "22633", 2, "2010-12-13T08:28")]
    assert "HOLDER, £5" in data.item_features["description"].tolist()
    with pytest.raises(InputError, match=r"data.encoding: unknown encoding: klingon; utf-8, latin-1"):
        read(path, encoding="klingon")


def test_features(write):
    data = read(write(lines()))
    items = data.item_features.set_index(data.item_ids)
    # Of rows with a customer; the alphabetically first wins a tie.
    assert items["description"].to_dict() == {
        "85048": "CHRISTMAS LIGHTS",
        "15056BL": "BLACK PARASOL",
        "22041": "RECORD FRAME",
    }
    assert items["price"].to_dict() == pytest.approx({"85048": 7.1, "15056BL": 5.95, "22041": 2.1})
    # 13078: EIRE five times, the United Kingdom once.
    assert data.user_features.set_index(data.user_ids)["country"].to_dict() == {13085: UK, 13078: "EIRE"}


def test_an_item_without_a_description(write):
    data = read(write(lines([(*LINES[0][:2], None, *LINES[0][3:])])))
    assert data.item_features["description"].isna().all()
    assert data.item_features["price"].tolist() == [6.95]


def test_cancellations_may_be_dropped_without_canceling_purchases(write):
    data = read(write(lines()), cancellations="drop")
    bought = [(13078, "22041", 8), (13078, "85048", 10), (13078, "85048", 5), (13078, "22041", 3)]
    assert [row[:3] for row in rows(data)] == [row[:3] for row in NETTED[:2]] + bought
    assert data.notes["cancellations, dropped"] == 2
    assert not [note for note in data.notes if "purchases" in note]


@pytest.mark.parametrize("missing", [None, -1])
def test_rows_without_a_customer_may_be_kept_as_one_user(write, missing):
    frame = lines().astype({"Customer ID": "Int64"}).fillna({"Customer ID": missing or pd.NA})
    data = read(write(frame), anonymous="keep")
    assert (-1, "22041", 48, "2009-12-01T07:46") in rows(data)
    assert data.notes["rows without a user (missing, empty or -1), kept as the one user -1"] == 1
    data = read(write(frame))
    assert data.notes["rows without a user (missing, empty or -1), dropped"] == 1


def test_quantities_and_filters(write):
    path = write(lines())
    assert online_retail(path).value == pytest.approx(np.log1p([12, 10, 8, 3]))
    weighed = online_retail(path, quantity="per_user", quantity_as="weight")
    assert weighed.value.tolist() == [12, 10, 8, 3]
    assert weighed.weight == pytest.approx(np.array([1, 10 / 12, 1, 3 / 8]) / np.mean([1, 10 / 12, 1, 3 / 8]))
    large = read(path, min_value=10.0)
    assert large.value.tolist() == [12, 10]
    assert large.notes == NOTES | {"rows below data.min_value=10, dropped": 2}
    assert online_retail(path, quantity_as=None).value is None
    again = lines([*LINES, ("489448", "85048", "LIGHTS", 1, "2009-12-07 10:00:00", 7.0, 13085.0, UK)])
    assert len(read(write(again))) == 5
    assert read(write(again), duplicates="first").value.tolist() == [12, 10, 8, 3]


YEARS = [  # the second year starts on a day that the first contains
    ("1", "85048", "A", 1, "2010-11-30 10:00:00", 1.0, 1.0, UK),
    ("2", "85048", "A", 2, "2010-12-01 10:00:00", 1.0, 1.0, UK),
    ("3", "85048", "A", 3, "2010-12-09 10:00:00", 1.0, 2.0, UK),
    ("2", "85048", "A", 2, "2010-12-01 10:00:00", 1.0, 1.0, UK),
    ("3", "85048", "A", 3, "2010-12-09 10:00:00", 1.0, 2.0, UK),
    ("4", "85048", "A", 4, "2010-12-10 10:00:00", 1.0, 2.0, UK),
]


def test_the_overlap_of_the_two_years_counts_once(write, tmp_path):
    with pd.ExcelWriter(tmp_path / "both.xlsx") as writer:
        for year, part in (("Year 2009-2010", [YEARS[0], *YEARS[:3]]), ("Year 2010-2011", YEARS[3:])):
            lines(part).to_excel(writer, sheet_name=year, index=False)
    for path in (tmp_path / "both.xlsx", write(lines([YEARS[0], *YEARS]), "both.csv")):
        data = read(path)
        assert data.value.tolist() == [2, 2, 3, 4]
        assert data.notes == {
            "rows of invoices that both years hold, the second time dropped": 2,
            "further lines of an item in its invoice, summed into one": 1,
        }


def test_the_overlap_of_years_is_not_removed_in_a_shuffled_file(write):
    """Time goes back more than once: equal rows may be two lines of an invoice, and are summed like these."""
    data = read(write(lines([YEARS[i] for i in (1, 0, 3, 2, 0)])))
    assert data.value.tolist() == [4, 2, 3]
    assert "rows of invoices that both years hold, the second time dropped" not in data.notes


CODES = {
    "rows of postage and carriage, dropped": ["POST", "DOT", "C2", "C3"],
    "rows of gift vouchers, dropped": ["GIFT", "gift_0001_10", "gift_0001_90"],
    "rows of fees, discounts, corrections, samples, dropped": [
        *("M", "m", "D", "S", "B", "ADJUST", "ADJUST2", "AMAZONFEE", "BANK CHARGES", "CRUK", "TEST001", "TEST002")
    ],
    "rows of stock codes of an unknown kind, dropped": ["PADS", "8504", "850480", "85048ABCD", "X85048"],
    "": ["85048", "79323P", "15056BL", "47503J ", "DCGS0003", "DCGSSBOY", "DCGS0066N", "SP1002", "84029gbl"],
}


@pytest.mark.parametrize(("reason", "code"), [(reason, code) for reason, codes in CODES.items() for code in codes])
def test_codes_of_products(write, reason, code):
    data = read(write(lines([LINES[5], ("1", code, "X", 1, "2009-12-01 10:00:00", 1.0, 1.0, UK)])))
    assert len(data) == (1 if reason else 2)
    assert [note for note in data.notes if "dropped" in note] == ([reason] if reason else [])


def stack(events: list[int]) -> tuple[list[int], list[int]]:
    """Remaining purchases and unmatched cancellations, by a stack: the latest purchase is canceled first."""
    left, lost, held = [0] * len(events), [0] * len(events), []
    for row, quantity in enumerate(events):
        if quantity > 0:
            left[row] = quantity
            held.append(row)
            continue
        to_take = -quantity
        while to_take and held:
            taken = min(to_take, left[held[-1]])
            left[held[-1]] -= taken
            to_take -= taken
            if not left[held[-1]]:
                held.pop()
        lost[row] = to_take
    return left, lost


event = st.tuples(st.integers(0, 1), st.integers(0, 1), st.integers(-5, 5).filter(bool), st.integers(0, 20))


@settings(deadline=None, max_examples=25, database=None)
@given(st.lists(event, min_size=1, max_size=25))
def test_cancellations_cancel_the_latest_purchase_first(events):
    frame = pd.DataFrame(events, columns=["user_id", "item_id", "quantity", "time"])
    frame = frame.astype({"user_id": "category", "item_id": "category", "quantity": float})
    left, lost = module._last_in_first_out(frame)
    expected_left, expected_lost = np.zeros(len(events)), np.zeros(len(events))
    pairs = defaultdict(list)
    for row in sorted(range(len(events)), key=lambda row: events[row][3]):
        pairs[events[row][:2]].append(row)
    for own in pairs.values():
        expected_left[own], expected_lost[own] = stack([events[row][2] for row in own])
    assert left.tolist() == expected_left.tolist()
    assert lost.tolist() == expected_lost.tolist()


def changed(row: int, **cells) -> pd.DataFrame:
    frame = lines().astype(object)
    for name, cell in cells.items():
        frame.loc[row, name] = cell
    return frame


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (
            lines().drop(columns=["Price", "Country"]),
            "no column 'Price' or 'UnitPrice', 'Country', only 'Invoice', 'Stock",
        ),
        (
            changed(1, Quantity="many"),
            r"line 3 of .*r.csv has the quantity 'many', not a number \(1 such rows\): fix it",
        ),
        (changed(1, Price="inf"), "line 3 of .* has the price 'inf', not a number"),
        (changed(2, Quantity=None), r"line 4 of .* has no Quantity \(1 such rows\): fill it or delete the row"),
        (changed(3, StockCode=" "), r"line 5 of .* has no StockCode"),
        (changed(3, Invoice=None), r"line 5 of .* has no Invoice"),
        (changed(3, InvoiceDate=None), r"line 5 of .* has no InvoiceDate"),
        (changed(3, InvoiceDate="yesterday"), r"line 5 of .* has a time that cannot be read, 'yesterday'"),
        (
            lines(LINES[3:4]),
            r"none of the 1 rows is a purchase or its cancellation: 1 rows of postage and carriage, dropped",
        ),
        (lines(LINES[4:5]), r"none of the 1 rows has a user: data.anonymous=keep"),
        (lines(LINES[15:16]), r"all purchases were canceled: 1 cancellations of more than was bought before"),
    ],
)
def test_errors_name_file_and_column(write, frame, message):
    with pytest.raises(InputError, match=message):
        read(write(frame, "r.csv"))


def test_files_that_are_not_online_retail(tmp_path, write, monkeypatch):
    with pytest.raises(InputError, match=r"set data.path=FILE to Online Retail II"):
        online_retail()
    for name, remedy in {
        "no.xlsx": "check data.path",
        "no.parquet": "check the path",
        "no.csv": "check the path",
    }.items():
        with pytest.raises(InputError, match=f"there is no file .*{name}: {remedy}"):
            read(tmp_path / name)
    (tmp_path / "text.xlsx").write_text("no spreadsheet")
    with pytest.raises(InputError, match=r"text.xlsx is not a valid .xlsx file \(.*download it again"):
        read(tmp_path / "text.xlsx")
    whole = write(lines(), "cut.xlsx").read_bytes()
    (tmp_path / "cut.xlsx").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"cut.xlsx is not a valid .xlsx file"):
        read(tmp_path / "cut.xlsx")
    with pytest.raises(InputError, match=r"s.xlsx, sheet Sheet1 is not Online Retail II: it has no column 'Country'"):
        read(write(lines().drop(columns="Country"), "s.xlsx"))
    with pytest.raises(InputError, match=r"row 2 of .*s.xlsx \(below the column names.*has the quantity 'many'"):
        read(write(changed(1, Quantity="many"), "s.xlsx"))
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    with pytest.raises(InputError, match=r"spreadsheets need openpyxl: pip install 'jaxrec\[retail\]'"):
        read(write(lines(), "s.csv").rename(tmp_path / "s.xlsx"))


@pytest.mark.shared_data
@pytest.mark.slow
def test_the_real_year(shared_data):
    """Counts against a loop over the rows."""
    path = shared_data / "online-retail-ii-2009.parquet"
    frame = pd.read_parquet(path)
    frame["StockCode"] = frame["StockCode"].str.strip().str.upper()
    product = frame["StockCode"].str.match(r"^(\d{5}[A-Z]{0,3}|DCGS[A-Z0-9]+|SP\d+)$")
    priced, named = frame["Price"] > 0, frame["Customer ID"].notna()
    notes = Counter()
    notes["no product"] = int((~product).sum())
    frame = frame[product & priced]
    notes["price"] = int((product & ~priced).sum())
    notes["nobody"] = int((product & priced & ~named).sum())
    frame = frame[frame["Customer ID"].notna()]
    invoices: dict[tuple, list] = {}
    for line in frame.itertuples(index=False):
        key = (line.Invoice, int(line[6]), line.StockCode)
        invoices.setdefault(key, [line.InvoiceDate, 0])[1] += line.Quantity
    pairs = defaultdict(list)
    for (_, user, item), (time, quantity) in invoices.items():
        pairs[user, item].append((time, quantity))
    bought: Counter = Counter()
    n_rows = 0
    for pair, events in pairs.items():
        left, lost = stack([quantity for _, quantity in sorted(events, key=lambda event: event[0])])
        n_rows += sum(quantity > 0 for quantity in left)
        notes["too many"] += sum(quantity > 0 for quantity in lost)
        if sum(left):
            bought[pair] = sum(left)

    data = read(path)
    assert len(data) == n_rows
    assert data.n_users == len({user for user, _ in bought})
    assert data.n_items == len({item for _, item in bought})
    found = Counter()
    for user, item, quantity in zip(data.user_ids[data.user], data.item_ids[data.item], data.value, strict=True):
        found[int(user), item] += int(quantity)
    assert found == bought
    assert notes["no product"] == sum(data.notes[reason] for reason in CODES if reason)
    assert notes["price"] == data.notes["rows of a price of 0 or less, dropped"]
    assert notes["nobody"] == data.notes["rows without a user (missing, empty or -1), dropped"]
    assert notes["too many"] == data.notes["cancellations of more than was bought before, the rest ignored"]
    parasol = data.item_features.set_index(data.item_ids).loc["15056BL"]
    assert parasol["description"] == "EDWARDIAN PARASOL BLACK"
