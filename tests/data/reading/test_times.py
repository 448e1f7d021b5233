from datetime import UTC, date, datetime
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxrec.data.reading.times import milliseconds
from jaxrec.errors import InputError

INSTANT = 1_442_004_589_123  # milliseconds: 2015-09-11T20:49:49.123Z
quick = settings(deadline=None, max_examples=25, database=None)


def read(values: list, kind: pa.DataType | None = None) -> list[int]:
    column = pa.chunked_array([pa.array(values, kind)])
    return milliseconds(column, lambda row: f"row {row + 1}").tolist()


@pytest.mark.parametrize(
    ("written", "kind"),
    [
        (INSTANT, pa.int64()),
        (INSTANT, pa.uint64()),
        (INSTANT * 1_000, pa.int64()),
        (INSTANT * 1_000_000, pa.uint64()),
        (INSTANT * 1e6, pa.float64()),
        (Decimal("1442004589.123"), pa.decimal128(18, 6)),
        (Decimal(INSTANT * 1_000_000), pa.decimal128(38, 0)),
        (INSTANT * 1_000_000, pa.int64()),
        (INSTANT / 1_000, pa.float64()),
        (float(INSTANT), pa.float64()),
        (str(INSTANT), pa.string()),
        ("1442004589.123", pa.string()),
        ("2015-09-11T20:49:49.123Z", pa.string()),
        ("2015-09-11 20:49:49.123", pa.string()),
        (" 2015-09-11 20:49:49.123 ", pa.string()),
        ("1442004589.1239", pa.string()),
        ("2015-09-11T22:49:49.123+02:00", pa.string()),
        (datetime(2015, 9, 11, 20, 49, 49, 123_000), pa.timestamp("us")),
        (datetime(2015, 9, 11, 20, 49, 49, 123_000, UTC), pa.timestamp("ns", "Europe/Berlin")),
    ],
)
def test_one_instant_in_many_spellings(written, kind):
    assert read([written], kind) == [INSTANT]


def test_dates_and_whole_seconds():
    assert read([date(1970, 1, 2)], pa.date32()) == [86_400_000]
    assert read(["1970-01-02", "1970-01-01T00:00:01"]) == [86_400_000, 1_000]
    assert read([1_442_004_589], pa.int32()) == [1_442_004_589_000]
    assert read(["9/11/2015 20:49", "9/30/2015 00:00"]) == [1_442_004_540_000, 1_443_571_200_000]
    assert read(["11/09/2015 20:49", "30/09/2015 00:00"]) == [1_442_004_540_000, 1_443_571_200_000]


@pytest.mark.parametrize(
    ("written", "kind"),
    [
        (-158_112_000, pa.int64()),
        (-158_112_000_000, pa.int64()),
        (-158_112_000_000_000, pa.int64()),
        (-158_112_000_000_000_000, pa.int64()),
        (Decimal("-158112000.0000"), pa.decimal128(18, 4)),
        ("1964-12-28", pa.string()),
        ("12/28/1964", pa.string()),
        (date(1964, 12, 28), pa.date32()),
        (19641228, pa.int64()),
        ("19641228", pa.string()),
        (19641228.0, pa.float64()),
        (196412280000, pa.int64()),
        ("19641228000000", pa.string()),
    ],
)
def test_a_day_before_1970_in_many_spellings(written, kind):
    assert read([written], kind) == [-1830 * 86_400_000]


def test_milliseconds_around_1970_and_fractions_are_cut_alike():
    assert read([-31_536_000_000, 31_536_000_000, 1_706_000_000_000]) == [-31_536_000_000, 31_536_000_000, 1706 * 10**9]
    assert read([-1_500], pa.timestamp("us")) == read(["1969-12-31T23:59:59.9985"]) == read([-0.0015]) == [-2]


def test_the_rarer_format_is_at_fault():
    months_first = ["9/11/2015 20:49", "9/30/2015 00:00"]
    for values, odd in (
        ([1_706_000_000_000, 1_706_000_001, 1_706_000_002], 1),
        (["2015-09-11", *months_first], 1),
        (["soon", *months_first], 1),
        (["2024-03-01", "1706000000", "2024-03-02"], 2),
        ([20240131, 20240230, 20240301], 2),
        ([20240131, 1_706_000_000, 20240301], 2),
    ):
        with pytest.raises(InputError, match=f"row {odd} has"):
            read(values)


@quick
@given(st.lists(st.integers(-(10**9), 0), min_size=1, max_size=20))
def test_small_numbers_are_times_in_their_order(numbers):
    assert read(numbers, pa.int64()) == [1_000 * number for number in numbers]


@quick
@given(st.lists(st.datetimes(datetime(1980, 1, 1), datetime(2100, 1, 1)), min_size=1, max_size=20))
def test_dates_survive_their_iso_text(times):
    times = [time.replace(microsecond=time.microsecond // 1_000 * 1_000) for time in times]
    expected = np.array(times, "datetime64[ms]").astype(np.int64).tolist()
    assert read([time.isoformat() for time in times]) == expected


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([1, None], "row 2 has no time"),
        ([1.0, float("inf")], "row 2 has a time that is not a number"),
        ([1_442_004_589, INSTANT], r"row 1 has 1442004589 \(seconds since 1970\) and row 2 has 1442004589123 \(milli"),
        ([INSTANT, 0], r"row 2 has 0 \(seconds since 1970\) and row 1 has 1442004589123 \(milliseconds"),
        (["2015-09-11", "yesterday"], "row 2 has a time that cannot be read, 'yesterday'"),
        (["yesterday", "2015-09-11"], "row 1 has a time that cannot be read, 'yesterday'"),
        (["2015-09-31"], "row 1 has a time that cannot be read, '2015-09-31'"),
        (["2015-13-09", "2015-14-09"], "row 1 has a time that cannot be read, '2015-13-09'"),
        ([True, False], "has the type bool, not times"),
        ([[1], [2]], "has the type list<item: int64>, not times"),
        (["2015-09-11", "  "], "row 2 has no time"),
        (["2015-09-11", "today"], "row 2 has a time that cannot be read, 'today'"),
        # pandas 2 cannot read it, pandas 3 can.
        (["2015-09-11", "9999-12-31"], "row 2 has (the time 9999-12-31, outside the years 1678|a time that cannot be)"),
        ([1e30], "row 1 has the time 1e"),
        ([45_322.5, 45_323.25], "serial days of a spreadsheet"),
        ([202401, 202402], "years and months"),
        ([19_724, 19_725], "days since 1970"),
        ([738_886, 738_887], "days since the year 1 or 0"),  # date.toordinal of January 2024
        ([739_252.25, 739_253.5], "days since the year 1 or 0"),  # the same as MATLAB's datenum
        ([2_460_310.5, 2_460_311.5], "Julian days"),  # the same days
        ([1_442_004_589, 0, 0], r"row 2 has the time 0 \(2 such rows\), but others are after 1990"),
        ([-1, 1_442_004_589], "row 1 has the time -1 .*, but others are after 1990: correct or drop"),
        (["2015-09-11", "1970-01-01"], "row 2 has the time 1970-01-01 .*, but others are after 1990"),
        (["2023", "2024"], "look like years"),
        (["03/04/2015", "05/06/2015"], "row 1 has the time '03/04/2015': day or month first?"),
        (["13/04/2015", "04/13/2015"], "row 2 has a time that cannot be read, '04/13/2015'"),
    ],
)
def test_errors_name_the_row_of_an_invalid_time(values, message):
    with pytest.raises(InputError, match=message):
        read(values)
