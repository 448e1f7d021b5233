"""MovieLens-100K: 100,000 ratings from 1 to 5 of 1,682 movies by 943 users.   [Harper & Konstan 2015]

GroupLens does not allow redistribution, so the data is downloaded once and cached. The first source is a wheel that
contains it, as a package index is usually accessible where jaxrec was installed; the second is GroupLens.
"""

import hashlib
import io
import re
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from pydantic import NonNegativeInt

from jaxrec.data.filters import Duplicates, filtered
from jaxrec.data.interactions import Interactions, encode
from jaxrec.data.sources.download import fetch_url, fetch_wheel, first_of
from jaxrec.errors import InputError

WHEEL = "recbole==1.2.1"
WHEEL_SHA256 = "9c9948202011f37eb0a7c6768129313f00d6403ad221ec940d5e2d5d5f33a407"
URL = "https://files.grouplens.org/datasets/movielens/ml-100k.zip"
URL_SHA256 = "50d2a982c66986937beb9ffb3aa76efe955bf3d5c6b761f4e3a7cd717c6a3229"
# Checksum of u.data; the rows of ml-100k.inter are identical bytes.
RATINGS_SHA256 = "06416e597f82b7342361e41163890c81036900f418ad91315590814211dca490"

# The order of the flags in u.item.
GENRES = ["unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama"]
GENRES += ["Fantasy", "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western"]
USER_COLUMNS = ["user_id", "age", "gender", "occupation", "zip_code"]

Read = Callable[[str], bytes]  # name of a file, such as u.data → content; KeyError if missing


def movielens_100k(
    path: str | Path | None = None,
    min_value: float | None = None,
    duplicates: Duplicates = "last",
    k_core: NonNegativeInt = 0,
) -> Interactions:
    """Read MovieLens-100K, with ratings as values and times, in file order.

    User features: age, gender, occupation, zip_code. Item features: title, release_year (missing for one movie),
    genres (a list of names).

    Args:
        path: folder with ml-100k.inter (.user, .item) or u.data (u.user, u.item), the feature files being optional;
            None: download, see `cache_dir`.
        min_value, duplicates, k_core: see `filtered`.
    """
    if path is not None:
        read: Read = partial(_from_folder, Path(path))
    else:
        archive = first_of(
            {
                f"the package index ({WHEEL})": lambda: fetch_wheel(WHEEL, WHEEL_SHA256),
                URL: lambda: fetch_url(URL, URL_SHA256),
            },
            "To do it manually, put ml-100k.inter or u.data into a folder and set data.path=FOLDER",
        )
        read = partial(_from_zip, archive)
    try:
        rows, users, items = _atomic(read)
    except KeyError:
        try:
            rows, users, items = _original(read)
        except KeyError as error:
            raise InputError(f"data.path={path} must be a folder that contains ml-100k.inter or u.data") from error
    if hashlib.sha256(rows).hexdigest() != RATINGS_SHA256:
        raise InputError(f"{path or archive} is not MovieLens-100K as published; read other files with data=files")
    table = np.array(rows.split(), np.int64).reshape(-1, 4)
    frame = pd.DataFrame({"user_id": table[:, 0], "item_id": table[:, 1]})
    frame = frame.assign(value=table[:, 2].astype(np.float32), time=table[:, 3] * 1000)
    frame, filtered_out = filtered(frame, min_value=min_value, duplicates=duplicates, k_core=k_core)
    return encode(frame, user_features=users, item_features=items, notes=filtered_out, name="MovieLens-100K")


def _from_zip(archive: Path, member: str) -> bytes:
    with zipfile.ZipFile(archive) as members:
        return members.read(next((name for name in members.namelist() if name.endswith(f"/{member}")), member))


def _from_folder(folder: Path, member: str) -> bytes:
    try:
        return (folder / member).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise KeyError(member) from None
    except OSError as error:
        raise InputError(f"{folder / member} cannot be read: {error.strerror}") from error


def _atomic(read: Read) -> tuple[bytes, pd.DataFrame | None, pd.DataFrame | None]:
    """Read ratings, users and items in RecBole's atomic format."""
    rows = read("ml-100k.inter").replace(b"\r\n", b"\n").split(b"\n", 1)[1]
    users, items = _fields(read, "ml-100k.user", "\t", "utf-8"), _fields(read, "ml-100k.item", "\t", "utf-8")
    return rows, _users(users and users[1:]), _items(items and [[*film[:3], *film[3].split(" ")] for film in items[1:]])


def _original(read: Read) -> tuple[bytes, pd.DataFrame | None, pd.DataFrame | None]:
    """Read ratings, users and items in GroupLens' original format."""
    rows = read("u.data").replace(b"\r\n", b"\n")
    users, items = _fields(read, "u.user", "|", "latin-1"), _fields(read, "u.item", "|", "latin-1")
    return rows, _users(users), _items(items and [_film(fields) for fields in items])


def _film(fields: list[str]) -> list[str]:
    """Return id, title, year and genres of `1|Toy Story (1995)|01-Jan-1995|…|0|0|0|1|…`."""
    number, title, released, _, _, *flags = fields
    genres = [genre for genre, flag in zip(GENRES, flags, strict=True) if flag == "1"]
    return [number, re.sub(r"\s*\(\d{4}\)\s*$", "", title), released[-4:], *genres]


def _fields(read: Read, member: str, delimiter: str, encoding: str) -> list[list[str]] | None:
    try:
        content = read(member)
    except KeyError:
        return None
    return [line.split(delimiter) for line in io.StringIO(content.decode(encoding)).read().splitlines() if line]


def _users(rows: list[list[str]] | None) -> pd.DataFrame | None:
    if rows is None:
        return None
    return pd.DataFrame(rows, columns=USER_COLUMNS).astype({"user_id": np.int64, "age": np.int64})


def _items(rows: list[list[str]] | None) -> pd.DataFrame | None:
    """Convert rows of id, title, year and genres to a frame."""
    if rows is None:
        return None
    ids, titles, years = ([row[column] for row in rows] for column in range(3))
    return pd.DataFrame(
        {
            "item_id": np.array(ids, np.int64),
            "title": titles,
            "release_year": pd.to_numeric(pd.Series(years), errors="coerce").astype("Int64"),
            "genres": [row[3:] for row in rows],
        }
    )
