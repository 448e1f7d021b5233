"""Programs of a fixed number of rows, applied to any number of rows."""

import numpy as np
import pytest

from jaxrec.blockwise import in_blocks, slices


@pytest.mark.parametrize("n_rows", [1, 3, 4, 5, 8])
def test_every_call_has_the_same_shape_and_every_row_one_output(n_rows):
    calls = []

    def program(rows):
        calls.append(rows.tolist())
        return {"square": rows**2, "pair": np.stack([rows, -rows], axis=1)}

    found = in_blocks(program, n_rows, 4)
    assert [len(call) for call in calls] == [4] * -(-n_rows // 4)
    assert max(map(max, calls)) == n_rows - 1
    np.testing.assert_array_equal(found["square"], [row**2 for row in range(n_rows)])
    np.testing.assert_array_equal(found["pair"], [[row, -row] for row in range(n_rows)])


def test_slices_cover_all_rows_once():
    assert [(block.start, block.stop) for block in slices(7, 3)] == [(0, 3), (3, 6), (6, 7)]
    assert list(slices(0, 3)) == []
