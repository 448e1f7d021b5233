"""Ids in all forms, and search of titles by words."""

import numpy as np
import pytest

from jaxrec.data.item_labels import Categories
from jaxrec.errors import InputError
from jaxrec.serve.catalog import Catalog, Ids, UnknownIdError

TITLES = np.array(["Amélie (2001)", "Alien (1979)", "Aliens (1986)", "", "Das Boot (1981)"], object)


def catalog(**changes):
    values = {"item_ids": np.array([5, 3, 1, 2, 4]), "popular": np.array([1, 2, 9, 0, 3]), "titles": TITLES, **changes}
    return Catalog(**values)


@pytest.mark.parametrize("value", [7, "7", 7.0, "7.0"])
def test_a_number_and_its_text_are_the_same_id(value):
    assert Ids("user", np.array([3, 7])).position(value) == 1
    assert Ids("user", np.array(["3", "7"], object)).position(value) == 1


@pytest.mark.parametrize("value", ["07", 8, "", "\ud800", "7 "])
def test_an_unknown_id_is_named(value):
    ids = Ids("user", np.array([3, 7]))
    assert ids.find(value) == -1
    with pytest.raises(UnknownIdError, match=r"user .* is not in this run") as error:
        ids.position(value)
    assert repr(value) in str(error.value)
    str(error.value).encode()  # can be encoded in a response


def test_titles_are_found_by_all_words_most_popular_first():
    found = catalog()
    assert found.search("alien", 10) == [2, 1]
    assert found.search("ALIEN 1979", 10) == [1]
    assert found.search("1979 al", 10) == [1]
    assert found.search("amelie", 10) == found.search("AMÉLIE", 10) == [0]
    assert found.search("alien", 1) == [2]
    assert found.search("nothing", 10) == []
    assert found.search("", 3) == [2, 4, 1]
    assert found.search("\ud800", 3) == []


def test_a_large_float_is_not_an_id():
    with pytest.raises(InputError, match="a rounded float"):
        Ids("user", np.array([3, 7])).find("1e+17")
    assert catalog().search("1e+17", 10) == []  # words, not an id


def test_an_exact_id_comes_first():
    assert catalog().search("1", 10) == [2, 4, 1, 0]  # id 1, then titles that contain a 1
    assert catalog().search(" 2 ", 1) == [3]


def test_without_titles_ids_are_searched():
    found = catalog(titles=None, item_ids=np.array(["ab", "b", "abc", "d", "e"], object))
    assert found.search("AB", 10) == [2, 0]  # "abc" is more popular
    assert found.item(0) == {"id": "ab", "title": None, "categories": []}


def test_description_of_an_item():
    names, offsets, codes = (
        np.array(["Comedy", "Drama", "War"], object),
        np.array([0, 1, 1, 1, 1, 3]),
        np.array([0, 2, 1]),
    )
    found = catalog(categories=Categories(names, offsets, codes))
    assert found.item(4) == {"id": 4, "title": "Das Boot (1981)", "categories": ["War", "Drama"]}
    assert found.item(3)["title"] is None
