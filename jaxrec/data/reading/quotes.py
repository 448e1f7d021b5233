"""Stray quotes in text files, which make one field of many rows: found by reading the lines with and without quotes."""

import csv
from collections.abc import Iterator

REMEDY = (
    'close the quote, double it ("") inside quotes, or remove it; if quotes mean nothing in this file, rename it to '
    ".inter (with data.delimiter=… unless it has tabs)"
)


def lost_rows(lines: Iterator[str], delimiter: str) -> tuple[int, str | None]:
    """How many records there are, and the line (from 1) and fault of the first that swallows rows, if any does.

    A quoted field may hold line ends. One that never ends does not, nor one with text behind its closing quote, nor
    a record of which each line would be a row of the file if quotes meant nothing.
    """
    taken: list[str] = []

    def tapped() -> Iterator[str]:
        for line in lines:
            taken.append(line)
            yield line

    reader = csv.reader(tapped(), delimiter=delimiter, strict=True)
    n_fields, records = 0, 0
    while True:
        start = reader.line_num + 1
        taken.clear()
        try:
            fields = next(reader)
        except StopIteration:
            return records, None
        except csv.Error as error:
            if len(taken) > 1 or "unexpected end" in str(error):
                return records, f"line {start} opens a quote that does not end with its field: {REMEDY}"
            fields = taken[0].split(delimiter)  # no row is lost, and the faulty field is nobody's but its row's
        if not fields:
            continue
        n_fields = n_fields or len(fields)
        if len(taken) > 1 and n_fields > 1 and all(line.count(delimiter) == n_fields - 1 for line in taken):
            return (
                records,
                f"line {start} opens a quote that ends in line {start + len(taken) - 1}, of other rows: {REMEDY}",
            )
        records += 1
