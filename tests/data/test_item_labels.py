"""Titles and categories from item features, as text of bounded length, also after saving and loading."""

import numpy as np
import pandas as pd
import pytest

from jaxrec.checkpoint import load_extra, save_params
from jaxrec.data.item_labels import MAX_CHARACTERS, Labels, labels, labels_to_store, restore_labels


def test_titles_and_genres():
    frame = pd.DataFrame(
        {
            "year": [1995, 1996, 1997, 1998],
            "Title": ["Toy  Story\n", "x" * 500, None, " "],
            "Genres": [["Drama", "Comedy", "Drama"], [], None, ["War"]],
        }
    )
    found = labels(frame)
    assert found.titles.tolist() == ["Toy Story", "x" * MAX_CHARACTERS, "", ""]
    categories = found.categories
    assert categories.names.tolist() == ["Comedy", "Drama", "War"]
    assert [categories.of(item) for item in range(4)] == [["Drama", "Comedy"], [], [], ["War"]]


def test_the_preferred_column_with_values_is_used():
    frame = pd.DataFrame({"description": ["a", "b"], "name": [None, None], "category": pd.Categorical(["x", "y"])})
    found = labels(frame.assign(department=[3, 4]))
    assert found.titles.tolist() == ["a", "b"]
    assert [found.categories.of(item) for item in (0, 1)] == [["x"], ["y"]]
    assert labels(frame[["category"]]).titles is None
    assert labels(frame[["name"]]) == labels(None) == Labels()


@pytest.mark.parametrize("columns", [["title", "genre"], ["title"], ["genre"], []])
def test_a_checkpoint_restores_titles_and_categories(tmp_path, columns):
    frame = pd.DataFrame({"title": ["a", None], "genre": ["x", None]})
    given = labels(frame[columns])
    save_params(tmp_path, {}, extra=labels_to_store(given))
    found = restore_labels(load_extra(tmp_path))
    assert (found.titles is None) == ("title" not in columns)
    assert (found.categories is None) == ("genre" not in columns)
    if found.titles is not None:
        assert found.titles.tolist() == given.titles.tolist()
    if found.categories is not None:
        for one, other in zip(found.categories, given.categories, strict=True):
            np.testing.assert_array_equal(one, other)
