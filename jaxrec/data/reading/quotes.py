"""Detection of stray quotes in text files, which merge many rows into one field."""

import csv
from collections.abc import Iterator

REMEDY = (
    'close the quote, double it ("") inside quotes, or remove it; if quotes mean nothing in this file, rename it to '
    ".inter (with data.delimiter=… unless it has tabs)"
)


def lost_rows(lines: Iterator[str], delimiter: str) -> tuple[int, str | None]:
    """Count records and describe the first stray quote that merges rows.

    A quoted field may contain line breaks. A quote is stray if it is never closed, if text follows the closing quote,
    or if each line of the record would be a row on its own with quotes ignored.

    Returns:
        The number of records before the fault, or in total, and the fault with its line (from 1), or None.
    """
    record: list[str] = []  # lines of the current record

    def recorded() -> Iterator[str]:
        for line in lines:
            record.append(line)
            yield line

    reader = csv.reader(recorded(), delimiter=delimiter, strict=True)
    n_fields, records = 0, 0
    while True:
        start = reader.line_num + 1
        record.clear()
        try:
            fields = next(reader)
        except StopIteration:
            return records, None
        except csv.Error as error:
            if len(record) > 1 or "unexpected end" in str(error):
                return records, f"line {start} opens a quote that does not end with its field: {REMEDY}"
            fields = record[0].split(delimiter)  # no row is lost: the fault is within one line
        if not fields:
            continue
        n_fields = n_fields or len(fields)
        if len(record) > 1 and n_fields > 1 and all(line.count(delimiter) == n_fields - 1 for line in record):
            return (
                records,
                f"line {start} opens a quote that ends in line {start + len(record) - 1}, in another row: {REMEDY}",
            )
        records += 1
