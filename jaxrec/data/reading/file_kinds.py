"""Files that are not what their names say, and formats that are not read, each with what to do."""

from pathlib import Path

from jaxrec.errors import InputError

PACKED = {".gz": b"\x1f\x8b", ".zst": b"\x28\xb5\x2f\xfd", ".zip": b"PK"}  # suffix → first bytes; a .zip has one file
UTF_16 = (b"\xff\xfe", b"\xfe\xff")  # byte order marks
PARQUET = b"PAR1"
EXCEL = ("read_excel", "")
# Suffix → function of pandas that reads the format, and its further arguments.
CONVERTED = {
    ".xlsx": EXCEL,
    ".xls": EXCEL,
    ".ods": EXCEL,
    ".json": ("read_json", ""),
    ".jsonl": ("read_json", ", lines=True"),
    ".ndjson": ("read_json", ", lines=True"),
    ".feather": ("read_feather", ""),
    ".arrow": ("read_feather", ""),
    ".orc": ("read_orc", ""),
}


def check_format(path: Path, suffix: str) -> None:
    """Raise InputError for a file of a format that is not read; `suffix` is that of the unpacked file."""
    if suffix in CONVERTED:
        function, arguments = CONVERTED[suffix]
        name = Path(path.name.removesuffix("".join(path.suffixes[-2:])) if path.suffix in PACKED else path.stem)
        raise InputError(
            f"{path} is not CSV, TSV or Parquet: convert it, in Python "
            f"pandas.{function}({path.name!r}{arguments}).to_parquet('{name}.parquet')"
        )


def check_content(path: Path, encoding: str) -> None:
    """Raise InputError if the first bytes of a text file are those of another kind of file than its name says."""
    with path.open("rb") as file:
        start = file.read(4)
    suffix = path.suffix.lower()
    if suffix in CONVERTED:  # `check_format` says more
        return
    if suffix in PACKED:
        if not start.startswith(PACKED[suffix]):
            raise InputError(f"{path} is no {suffix} file: rename it to {path.stem} if it is text, or write it again")
        return
    for packed, first in PACKED.items():
        if start.startswith(first):
            sheet = "; save a sheet of a spreadsheet (.xlsx) as CSV" if packed == ".zip" else ""
            raise InputError(f"{path} is a compressed file: rename it to {path.name}{packed}{sheet}")
    if start == PARQUET:
        raise InputError(f"{path} is a Parquet file: rename it to {path.stem}.parquet")
    if start.startswith(UTF_16) and not encoding.lower().replace("_", "-").startswith(("utf-16", "utf16")):
        raise InputError(f"{path} is UTF-16: save it as UTF-8, or set data.encoding=utf-16 if the source supports that")
