import mmap
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxrec.data import large_columns
from jaxrec.data.large_columns import blocks, gathered, offsets_of, release, rows_by_owner, sorted_rows, spilled
from tests.data.rows import quick


@pytest.fixture
def small_blocks(monkeypatch, tmp_path):
    """Set blocks of three rows and store every column in a file."""
    monkeypatch.setenv("JAXREC_CACHE", str(tmp_path))
    monkeypatch.setattr(large_columns, "BLOCK", 3)
    monkeypatch.setattr(large_columns, "LARGE", 1)
    return tmp_path


def test_a_spilled_column_is_a_memory_map_without_a_name(small_blocks):
    column = np.arange(1000, dtype=np.int32)
    stored = spilled(column)
    assert isinstance(stored.base.obj, mmap.mmap)
    assert not stored.flags.writeable
    assert not list(small_blocks.iterdir())
    release()
    assert stored.tolist() == column.tolist()


def test_small_columns_and_objects_stay_in_memory(small_blocks, monkeypatch):
    ids = np.array(["a", "b"], object)
    assert spilled(ids) is ids
    monkeypatch.setattr(large_columns, "LARGE", 100)
    column = np.arange(10)
    assert spilled(column) is column


def test_a_column_stays_in_memory_if_there_is_no_folder(small_blocks, monkeypatch, capsys):
    (small_blocks / "file").touch()
    monkeypatch.setenv("JAXREC_CACHE", str(small_blocks / "file"))
    column = np.arange(10)
    assert spilled(column) is column
    assert f"stays in memory, {small_blocks / 'file'}: File exists" in capsys.readouterr().err
    monkeypatch.setenv("JAXREC_CACHE", "~nobody-of-this-name/cache")
    assert spilled(column) is column
    assert "stays in memory, the cache folder ~nobody-of-this-name/cache has no home" in capsys.readouterr().err


@quick
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 3)), max_size=60), st.booleans())
def test_sorting_in_blocks(rows, has_key):
    owner, key = np.array(rows, np.int64).reshape(-1, 2).T
    expected = sorted(range(len(rows)), key=lambda row: (owner[row], key[row] * has_key, row))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(large_columns, "BLOCK", 3)
        offsets, order = sorted_rows(owner, 12, key if has_key else None)
        assert order.tolist() == expected
        assert offsets.tolist() == np.searchsorted(np.sort(owner), np.arange(13)).tolist()
        found = list(blocks(offsets))
        assert [one.stop for one in found[:-1]] == [other.start for other in found[1:]]
        for block in found:
            owners = owner[order[block]]
            assert len(owners) <= 3 or len(set(owners.tolist())) == 1
            assert all(before not in owners for before in owner[order[: block.start]])
        parts = [part.tolist() for part in rows_by_owner(owner)]
        assert (
            sorted((row for part in parts for row in part), key=lambda row: owner[row]) == np.lexsort([owner]).tolist()
        )
        owners = [user for part in parts for user in {int(owner[row]) for row in part}]
        assert len(owners) == len(set(owners))


def test_gathering_and_counting_in_blocks(small_blocks):
    values, index = np.array([5.0, 7.0, 9.0], np.float32), np.array([2, 0, 0, 1, 2, 2, 1], np.int32)
    assert gathered(values, index).tolist() == [9, 5, 5, 7, 9, 9, 7]
    assert gathered(values, index).dtype == np.float32
    bounds = offsets_of(index, 4).tolist()
    assert [end - start for start, end in pairwise(bounds)] == [2, 2, 3, 0]
