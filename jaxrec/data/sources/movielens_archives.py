"""MovieLens 1M, 20M, 25M, 32M and latest-small, as published by GroupLens.   [Harper & Konstan 2015]

Read from the archive or from the unpacked folder. 1M has the delimiter `::` and Latin-1 text; the others are CSV.
"""

import io
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
from pydantic import NonNegativeInt

from jaxrec.data.filters import Duplicates, filtered
from jaxrec.data.interactions import Interactions, encode
from jaxrec.data.reading.tables import DAMAGED
from jaxrec.data.sources.download import fetch_url, first_of
from jaxrec.errors import InputError

Version = Literal["1m", "20m", "25m", "32m", "latest-small"]

ADDRESS = "https://files.grouplens.org/datasets/movielens"
RATINGS = {"userId": pa.int32(), "movieId": pa.int32(), "rating": pa.float32(), "timestamp": pa.int64()}
USERS = {"user_id": pa.int32(), "gender": pa.string(), "age": pa.int16(), "occupation": pa.int8()}
USERS |= {"zip_code": pa.string()}
FILMS = {"movieId": pa.int32(), "title": pa.string(), "genres": pa.string()}
# Names of the codes 0, 1, … in users.dat.
OCCUPATIONS = ["other", "academic/educator", "artist", "clerical/admin", "college/grad student", "customer service"]
OCCUPATIONS += ["doctor/health care", "executive/managerial", "farmer", "homemaker", "K-12 student", "lawyer"]
OCCUPATIONS += ["programmer", "retired", "sales/marketing", "scientist", "self-employed", "technician/engineer"]
OCCUPATIONS += ["tradesman/craftsman", "unemployed", "writer"]
# "(1995)", and for series "(1995-1999)" and "(2009– )".
YEAR = r"\s*\((\d{4})(?:\s*[-\u2013]\s*(?:\d{4})?\s*)?\)\s*$"


@dataclass(frozen=True)
class Archive:
    """A published archive: name, checksum, number of ratings (None if it may change) and file suffix."""

    name: str
    sha256: str
    n_ratings: int | None
    suffix: str = "csv"


ARCHIVES: dict[Version, Archive] = {
    "1m": Archive("ml-1m", "a6898adb50b9ca05aa231689da44c217cb524e7ebd39d264c56e2832f2c54e20", 1_000_209, "dat"),
    "20m": Archive("ml-20m", "96f243c338a8665f6bcc89c53edf6ee39162a846940de6b7c8c48aeada765ff3", 20_000_263),
    "25m": Archive("ml-25m", "8b21cfb7eb1706b4ec0aac894368d90acf26ebdfb6aced3ebd4ad5bd1eb9c6aa", 25_000_095),
    "32m": Archive("ml-32m", "e4a68655d7386b8f95f2f2424b2ff975dfdd15ffd59e0d864a14dca43e99d6ee", 32_000_204),
    "latest-small": Archive(
        "ml-latest-small", "696d65a3dfceac7c45750ad32df2c259311949efec81f0f144fdfb91ebc9e436", None
    ),
}


def movielens(
    version: Version = "1m",
    path: str | Path | None = None,
    min_value: float | None = None,
    duplicates: Duplicates = "last",
    k_core: NonNegativeInt = 0,
) -> Interactions:
    """Read a MovieLens data set, with ratings as values and times, in file order.

    Item features: title, release_year (from the title, may be missing), genres (a list of names, may be empty). User
    features of 1M: gender, age (lower bound of its bracket, 1 for under 18), occupation, zip_code.

    Args:
        version: which data set.
        path: the archive (ml-25m.zip) or the unpacked folder; None: download, see `cache_dir`.
        min_value, duplicates, k_core: see `filtered`.

    Raises:
        InputError: a file is missing or not as published.
    """
    published = ARCHIVES[version]
    source = _fetched(published) if path is None else Path(path)
    frame = _ratings(source, published)
    users = _users(source, published) if version == "1m" else None
    films = _films(source, published)
    frame, filtered_out = filtered(frame, min_value=min_value, duplicates=duplicates, k_core=k_core)
    name = f"MovieLens-{version if version == 'latest-small' else version.upper()}"
    return encode(frame, user_features=users, item_features=films, notes=filtered_out, name=name)


def _fetched(archive: Archive) -> Path:
    url = f"{ADDRESS}/{archive.name}.zip"
    return first_of(
        {url: lambda: fetch_url(url, archive.sha256)},
        f"To do it manually, download the archive on any machine and set data.path={archive.name}.zip",
    )


def _ratings(source: Path, archive: Archive) -> pd.DataFrame:
    """Read and check the columns user_id, item_id, value and time."""
    table = _table(source, archive, "ratings", RATINGS)
    if table is None:
        raise InputError(
            f"{source} has no ratings.{archive.suffix}: set data.path to {archive.name}.zip or its unpacked folder"
        )
    if archive.n_ratings not in (None, len(table)):
        raise InputError(
            f"{source} has {len(table):,} ratings, but {archive.name} has {archive.n_ratings:,}: it is truncated or "
            "another version. Download it again, check data.version, or read other files with data=files"
        )
    low, high = pc.min_max(table["rating"]).as_py().values()
    if not 0.5 <= low <= high <= 5:
        raise InputError(f"{source} has ratings from {low:g} to {high:g}, not 0.5 to 5: it is not a MovieLens data set")
    columns: dict[str, np.ndarray] = {}
    for name in ("user_id", "item_id", "value", "time"):  # one at a time to halve peak memory
        columns[name] = table.column(0).to_numpy()
        table = table.remove_column(0)
    columns["time"] = columns["time"] * 1000
    return pd.DataFrame(columns, copy=False)


def _users(source: Path, archive: Archive) -> pd.DataFrame | None:
    table = _table(source, archive, "users", USERS)
    if table is None:
        return None
    codes = table["occupation"].to_numpy()
    if codes.min() < 0 or codes.max() >= len(OCCUPATIONS):
        raise InputError(f"{source}: users.dat has an occupation that is not one of 0 to {len(OCCUPATIONS) - 1}")
    return table.to_pandas().assign(occupation=np.array(OCCUPATIONS, object)[codes])


def _films(source: Path, archive: Archive) -> pd.DataFrame | None:
    table = _table(source, archive, "movies", FILMS)
    if table is None:
        return None
    title = table["title"].to_pandas().astype(str)
    return pd.DataFrame(
        {
            "item_id": table["movieId"].to_numpy(),
            "title": title.str.replace(YEAR, "", regex=True),
            "release_year": pd.to_numeric(title.str.extract(YEAR)[0]).astype("Int64"),
            "genres": table["genres"].to_pandas().astype(str).replace("(no genres listed)", "").str.findall(r"[^|]+"),
        }
    )


def _table(source: Path, archive: Archive, stem: str, columns: Mapping[str, pa.DataType]) -> pa.Table | None:
    """Read columns of a file of the archive; None if it has no such file."""
    member = f"{stem}.{archive.suffix}"
    read, parse = pyarrow.csv.ReadOptions(block_size=1 << 24), pyarrow.csv.ParseOptions()
    with _explained(source, member), _opened(source, archive, member) as file:
        if file is None:
            return None
        stream: object = file
        if archive.suffix == "dat":  # no header, no quotes
            stream = io.BytesIO(file.read().replace(b"::", b"\t"))
            read.column_names, read.encoding = list(columns), "latin1"
            parse.delimiter, parse.quote_char = "\t", False
        convert = pyarrow.csv.ConvertOptions(include_columns=list(columns), column_types=dict(columns))
        table = pyarrow.csv.read_csv(stream, read, parse, convert)
    empty = {name: table[name].null_count for name in columns if table[name].null_count}
    if empty:
        name, count = next(iter(empty.items()))
        raise InputError(f"{source}: {count:,} rows of {member} have no {name}: download it again")
    if not len(table):
        raise InputError(f"{source}: {member} has no rows: download it again")
    return table


@contextmanager
def _opened(source: Path, archive: Archive, member: str) -> Iterator[IO[bytes] | None]:
    """Open a file of a folder or archive (or of the subfolder named like the archive) as a stream."""
    if source.is_dir():
        path = next((p for p in (source / member, source / archive.name / member) if p.is_file()), None)
        with nullcontext() if path is None else path.open("rb") as file:
            yield file
        return
    with zipfile.ZipFile(source) as members:
        inside = next((n for n in members.namelist() if n in (member, f"{archive.name}/{member}")), None)
        with nullcontext() if inside is None else members.open(inside) as file:
            yield file


@contextmanager
def _explained(source: Path, member: str) -> Iterator[None]:
    """Convert exceptions of damaged files to an InputError with the file and a remedy."""
    try:
        yield
    except FileNotFoundError as error:
        raise InputError(f"there is no file or folder {source}: check data.path") from error
    except DAMAGED as error:
        raise InputError(f"{source} is damaged, {member} cannot be read ({error}): download it again") from error
    except (pa.ArrowInvalid, pa.ArrowKeyError) as error:
        raise InputError(f"{source}: {member} is not as published ({error}): download it again") from error
