import dataclasses
import hashlib
import zipfile

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxrec.data.sources import movielens_archives
from jaxrec.data.sources.movielens_archives import ARCHIVES, movielens
from jaxrec.errors import InputError

DAT = {
    "ratings.dat": "1::1193::5::978300760\n1::661::3::978302109\n2::1193::4::978298413\n",
    "users.dat": "1::F::1::10::48067\n2::M::56::16::70072-1234\n3::M::25::15::55117\n",
    "movies.dat": "661::James and the Giant Peach (1996)::Animation|Children's|Musical\n"
    "1193::One Flew Over the Cuckoo's Nest, Misérables: II (1975)::Drama\n1::Toy Story (1995)::Animation\n",
}
CSV = {
    "ratings.csv": "userId,movieId,rating,timestamp\n1,7,4.5,1147880044\n1,3,0.5,1147868817\n2,7,5.0,1147878820\n",
    "movies.csv": 'movieId,title,genres\n3,"American President, The ""AP"" (1995)",Comedy|Drama\n'
    "7,Das Boot \u2013 Ü (2009\u2013 ),(no genres listed)\n9,Never rated,Drama\n",
    "tags.csv": "userId,movieId,tag,timestamp\n",
}
LARGE = ["20m", "25m", "32m", "latest-small"]


@pytest.fixture
def small(monkeypatch):
    """Accept three ratings as any complete MovieLens."""
    few = {v: dataclasses.replace(a, n_ratings=a.n_ratings and 3) for v, a in ARCHIVES.items()}
    monkeypatch.setattr(movielens_archives, "ARCHIVES", few)


def contents(version):
    files = DAT if version == "1m" else CSV
    return {name: text.encode("latin-1" if version == "1m" else "utf-8") for name, text in files.items()}


def pack(path, files, folder="ml"):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(f"{folder}/{name}", content)
    return path


def unpack(folder, files):
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def lay(version, files, where, tmp_path):
    """Write the files as an archive, as the folder it unpacks to, or inside a parent folder."""
    name = ARCHIVES[version].name
    if where == "archive":
        return pack(tmp_path / f"{name}.zip", files, name)
    folder = unpack(tmp_path / "data" / name, files)
    return folder if where == "folder" else folder.parent


@pytest.mark.parametrize("where", ["archive", "folder", "around"])
def test_1m(small, tmp_path, where):
    data = movielens("1m", lay("1m", contents("1m"), where, tmp_path))
    assert data.user_ids[data.user].tolist() == [1, 1, 2]
    assert data.item_ids[data.item].tolist() == [1193, 661, 1193]
    assert data.value.tolist() == [5, 3, 4]
    assert data.time.tolist() == [978300760000, 978302109000, 978298413000]
    assert data.name == "MovieLens-1M"
    assert data.user_features.to_dict("list") == {
        "gender": ["F", "M"],
        "age": [1, 56],
        "occupation": ["K-12 student", "self-employed"],
        "zip_code": ["48067", "70072-1234"],
    }
    films = data.item_features.set_index(data.item_ids).sort_index()
    assert films["title"].tolist() == ["James and the Giant Peach", "One Flew Over the Cuckoo's Nest, Misérables: II"]
    assert films["release_year"].tolist() == [1996, 1975]
    assert films["genres"].tolist() == [["Animation", "Children's", "Musical"], ["Drama"]]


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
@pytest.mark.parametrize("version", LARGE)
def test_csv_versions(small, tmp_path, version, line_end):
    files = {name: content.replace(b"\n", line_end.encode()) for name, content in contents(version).items()}
    data = movielens(version, lay(version, files, "archive", tmp_path))
    assert data.user_ids[data.user].tolist() == [1, 1, 2]
    assert data.item_ids[data.item].tolist() == [7, 3, 7]
    assert data.value.tolist() == [4.5, 0.5, 5]
    assert data.time[0] == 1147880044000
    assert data.user_features is None
    films = data.item_features.set_index(data.item_ids).sort_index()
    assert films["title"].tolist() == ['American President, The "AP"', "Das Boot \u2013 Ü"]
    assert films["release_year"].tolist() == [1995, 2009]
    assert films["genres"].tolist() == [["Comedy", "Drama"], []]


def test_quotes_of_1m_are_part_of_the_title(small, tmp_path):
    files = contents("1m")
    files["movies.dat"] = b'661::"Great Day" (1994)::Drama\n1193::"One (1975)::Drama\n'
    films = movielens("1m", lay("1m", files, "archive", tmp_path)).item_features
    assert sorted(films["title"]) == ['"Great Day"', '"One']


def test_other_files_of_an_archive_are_not_read(small, tmp_path):
    files = {"notes/ratings.csv": b"mine", "users.csv": b"mine"} | contents("25m")
    assert len(movielens("25m", lay("25m", files, "archive", tmp_path))) == 3


def test_titles_without_a_year_have_none(small, tmp_path):
    files = contents("25m")
    files["movies.csv"] = b"movieId,title,genres\n3,Nine (2) (1995-1999),A\n7,(500) Days,B\n"
    films = movielens("25m", lay("25m", files, "archive", tmp_path)).item_features.sort_values("title")
    assert films["title"].tolist() == ["(500) Days", "Nine (2)"]
    assert films["release_year"].isna().tolist() == [True, False]
    assert films["release_year"].iloc[1] == 1995


def test_filters_reach_the_data_and_features_may_be_absent(small, tmp_path):
    files = {"ratings.dat": contents("1m")["ratings.dat"]}
    folder = lay("1m", files, "folder", tmp_path)
    data = movielens("1m", folder, min_value=4.0)
    assert data.value.tolist() == [5, 4]
    assert data.notes == {"rows below data.min_value=4, dropped": 1}
    with pytest.raises(InputError, match=r"data\.k_core=3 drops all"):
        movielens("1m", folder, k_core=3)
    assert data.user_features is None
    assert data.item_features is None


def replaced(name, old, new):
    def change(files):
        files[name] = files[name].replace(old, new)

    return change


@pytest.mark.parametrize(
    ("version", "change", "message"),
    [
        ("1m", lambda f: f.pop("ratings.dat"), "has no ratings.dat: set data.path to ml-1m.zip or its unpacked"),
        ("25m", lambda f: f.pop("ratings.csv"), "has no ratings.csv: set data.path to ml-25m.zip or its unpacked"),
        ("1m", replaced("ratings.dat", b"2::1193::4::978298413\n", b""), "2 ratings, but ml-1m has 3: it is truncated"),
        ("1m", replaced("ratings.dat", b"978302109", b"978302109::9"), "ratings.dat is not as published .*Expected 4"),
        ("1m", replaced("ratings.dat", b"::661", b""), "ratings.dat is not as published .*Expected 4 columns, got 3"),
        ("1m", replaced("ratings.dat", b"::3::", b"::x::"), "ratings.dat is not as published .*float"),
        ("1m", replaced("ratings.dat", b"::3::", b"::::"), "1 rows of ratings.dat have no rating"),
        ("1m", replaced("ratings.dat", b"::3::", b"::7::"), "ratings from 4 to 7, not 0.5 to 5: it is not a"),
        ("1m", replaced("users.dat", b"::16::", b"::21::"), "an occupation that is not one of 0 to 20"),
        ("1m", lambda f: f.update({"users.dat": b""}), "users.dat is not as published .*mpty"),
        ("25m", replaced("ratings.csv", b"movieId", b"item"), "ratings.csv is not as published .*movieId"),
        ("25m", replaced("ratings.csv", b"userId", b"movieId"), "ratings.csv is not as published"),
        ("25m", replaced("ratings.csv", b"0.5,", b""), "ratings.csv is not as published .*Expected 4 columns, got 3"),
        ("25m", replaced("ratings.csv", b"1,3,", b",3,"), "1 rows of ratings.csv have no userId"),
        ("25m", replaced("ratings.csv", b"1,3,", b"99999999999,3,"), "ratings.csv is not as published .*int32"),
        ("25m", replaced("movies.csv", "Ü".encode(), b"\xdc"), "movies.csv is not as published .*UTF8"),
        ("25m", lambda f: f.update({"movies.csv": b"movieId,title,genres\n"}), "movies.csv has no rows"),
    ],
)
def test_deviations_from_the_published_files_are_named(small, tmp_path, version, change, message):
    files = contents(version)
    change(files)
    with pytest.raises(InputError, match=message):
        movielens(version, lay(version, files, "archive", tmp_path))


def test_files_of_another_version(tmp_path):
    with pytest.raises(InputError, match=r"has 3 ratings, but ml-25m has 25,000,095: .* check data.version"):
        movielens("25m", pack(tmp_path / "ml.zip", contents("25m"), "ml-25m"))
    with pytest.raises(InputError, match=r"has no ratings.dat"):
        movielens("1m", tmp_path / "ml.zip")


def test_missing_archives(tmp_path):
    with pytest.raises(InputError, match=r"there is no file or folder .*nowhere: check data.path"):
        movielens("25m", tmp_path / "nowhere")


@pytest.mark.parametrize(("place", "value"), [(6, 84), (8, 1), (8, 32), (8, 64), (10, 64)])
def test_an_archive_with_unsupported_zip_features_is_an_error(tmp_path, place, value):
    """Version, password, patches, strong encryption, compression method."""
    path = pack(tmp_path / "ml.zip", {"ratings.csv": contents("25m")["ratings.csv"]}, "ml-latest-small")
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\x01\x02") + place] = value
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"ml\.zip is damaged, ratings\.csv cannot be read"):
        movielens("latest-small", path)


@settings(deadline=None, max_examples=25, database=None)
@given(st.data())
def test_damaged_archives_are_errors_or_the_same_data(tmp_path_factory, drawn):
    """One byte changed or the end cut off: never different ratings."""
    folder = tmp_path_factory.mktemp("damaged")
    files = {"ratings.csv": contents("25m")["ratings.csv"]}
    path = pack(folder / "ml.zip", files, "ml-latest-small")
    whole, content = movielens("latest-small", path), bytearray(path.read_bytes())
    place = drawn.draw(st.integers(0, len(content) - 1))
    if drawn.draw(st.booleans()):
        content[place] ^= drawn.draw(st.integers(1, 255))
    else:
        del content[place:]
    path.write_bytes(content)
    try:
        found = movielens("latest-small", path)
    except InputError:
        return
    assert [found.value.tolist(), found.time.tolist()] == [whole.value.tolist(), whole.time.tolist()]
    assert found.item_ids[found.item].tolist() == whole.item_ids[whole.item].tolist()


def test_the_archive_is_downloaded_from_grouplens_and_cached(small, tmp_path, monkeypatch):
    (tmp_path / "site").mkdir()
    path = pack(tmp_path / "site" / "ml-1m.zip", contents("1m"), "ml-1m")
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    here = {"1m": dataclasses.replace(movielens_archives.ARCHIVES["1m"], sha256=sha256)}
    monkeypatch.setattr(movielens_archives, "ARCHIVES", here)
    monkeypatch.setattr(movielens_archives, "ADDRESS", path.parent.as_uri())
    monkeypatch.setenv("JAXREC_CACHE", str(tmp_path / "cache"))
    assert len(movielens()) == 3
    path.unlink()
    assert len(movielens()) == 3


def test_without_access_to_grouplens_the_error_names_the_manual_download(tmp_path, monkeypatch):
    monkeypatch.setattr(movielens_archives, "ADDRESS", "http://127.0.0.1:9")
    monkeypatch.setenv("JAXREC_CACHE", str(tmp_path))
    with pytest.raises(InputError, match=r"127.0.0.1:9/ml-32m.zip: .*refused.*manually.* data.path=ml-32m.zip"):
        movielens("32m")


@pytest.mark.shared_data
@pytest.mark.slow
def test_1m_whole(shared_data, tmp_path):
    """The real ratings, users and films, written in the layout of the archive."""
    ratings = pd.read_parquet(shared_data / "ml-1m-ratings.parquet")
    users = pd.read_parquet(shared_data / "ml-1m-users.parquet")
    films = pd.read_parquet(shared_data / "ml-1m-items.parquet")
    time = 978300760 + np.arange(len(ratings))
    ratings = ratings[["user_id", "item_id", "rating"]].astype(int).assign(time=time)

    def lines(frame):
        return (frame.astype(str).agg("::".join, axis=1) + "\n").sum().encode("latin-1", "replace")

    files = {
        "users.dat": lines(users[["userID", "gender", "age", "occupation", "zipcode"]]),
        "movies.dat": lines(films),
    }
    files["ratings.dat"] = ratings.to_csv(sep="\t", header=False, index=False).replace("\t", "::").encode()
    data = movielens("1m", pack(tmp_path / "ml-1m.zip", files, "ml-1m"))
    assert (len(data), data.n_users, data.n_items) == (1_000_209, 6_040, 3_706)
    assert data.user_features["occupation"].nunique() == 21
    assert data.user_features.isna().sum().sum() == 0
    assert data.item_features["release_year"].isna().sum() == 0
    assert data.item_features["genres"].explode().nunique() == 18
