from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from jaxrec.data.reading.categories import category_paths
from jaxrec.errors import InputError

HEADER = "categoryid,parentid\n"
TREE = HEADER + "1,\n5,1\n9,5\n4,5\n2,\n"
PATHS = {1: [1], 2: [2], 4: [1, 5, 4], 5: [1, 5], 9: [1, 5, 9]}


@pytest.fixture
def tree(tmp_path):
    def tree(content: str | bytes) -> Path:
        (tmp_path / "tree.csv").write_bytes(content.encode() if isinstance(content, str) else content)
        return tmp_path / "tree.csv"

    return tree


def read(file: Path) -> tuple[dict, dict]:
    paths, notes = category_paths(file)
    return paths["category_path"].to_dict(), notes


@pytest.mark.parametrize(
    ("content", "notes"),
    [
        (TREE, {}),
        (TREE.rstrip("\n"), {}),
        (TREE.replace("\n", "\r\n"), {}),
        ("\ufeff" + TREE, {}),
        (HEADER + "9,5\n4,5\n5,1\n2,\n1,\n", {}),
        (TREE.replace("9,5", '"9"," 5 "'), {}),
        (TREE.replace("9,5", "9,5\n9,5\n9,5"), {"rows of tree.csv repeated, dropped": 2}),
        (TREE.encode().replace(b"9,5", b"\x009\xa0,5\xff"), {"rows of tree.csv with stray bytes, cleaned": 1}),
        (TREE.encode() + b"\x1a", {"rows of tree.csv with stray bytes, cleaned": 1}),
        (TREE.encode().replace(b"\n4", b"\n\xef\xbb\xbf4"), {"rows of tree.csv with stray bytes, cleaned": 1}),
        (TREE.replace("1,\n", "", 1), {"parents without a row in tree.csv, taken as roots": 1}),
    ],
)
def test_trees_are_read_in_all_their_formats(tree, content, notes):
    assert read(tree(content)) == (PATHS, notes)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (TREE.replace("1,\n", "1,9\n"), r"tree\.csv has a cycle .*: (1 → 9 → 5 → 1|5 → 1 → 9 → 5|9 → 5 → 1 → 9);"),
        (TREE.replace("2,\n", "2,2\n"), r"cycle .*: 2 → 2;"),
        (TREE + "9,1\n", r"line 7 of .*tree\.csv: category 9 has the parent 1, but another"),
        (TREE + "9,\n", r"line 7 of .*: category 9 has the parent none"),
        (TREE + HEADER, r"line 7 of .* has the category 'categoryid' and the parent 'parentid': ids must be int"),
        (TREE + ",3\n", r"line 7 of .* has the category '' and the parent '3'"),
        (TREE + "3\n", r"line 7 of .* has 1 fields, the header has 2"),
        (TREE.replace("parentid", "categoryid"), "2 columns 'categoryid'"),
        (TREE.replace("parentid", "parent"), "no column 'parentid'"),
        (TREE.encode("utf-16"), "is UTF-16: save it as UTF-8"),
        (HEADER, "a header but no rows"),
        ("", "is empty"),
    ],
)
def test_files_that_are_not_trees(tree, content, message):
    with pytest.raises(InputError, match=message):
        category_paths(tree(content))


@settings(deadline=None, max_examples=25, database=None)
@given(st.dictionaries(st.integers(0, 30), st.none() | st.integers(0, 30), min_size=1, max_size=25))
@example({n: n - 1 if n else None for n in range(9)})
def test_every_path_leads_up_to_a_root(tmp_path_factory, parents):
    """Any pairs of child and parent: each path is that of a walk up the tree, or there is a cycle and an error."""
    file = tmp_path_factory.mktemp("drawn") / "tree.csv"
    file.write_text(HEADER + "".join(f"{c},{'' if p is None else p}\n" for c, p in parents.items()))

    def walk(category: int) -> list[int] | None:
        path = [category]
        while (above := parents.get(path[0])) is not None:
            path.insert(0, above)
            if len(path) > 40:
                return None
        return path

    expected = {category: walk(category) for category in {*parents, *(p for p in parents.values() if p is not None)}}
    if None in expected.values():
        with pytest.raises(InputError, match="has a cycle"):
            category_paths(file)
    else:
        assert read(file)[0] == expected
