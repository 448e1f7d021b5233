"""Runs named by files of a directory must be inside that directory."""

import json

import pytest

from jaxrec.errors import InputError
from jaxrec.finished import finished_run, finished_runs


@pytest.mark.parametrize(
    "seeds", [{"best": "1/../../x", "seeds": [1]}, {"best": 1, "seeds": ["/x"]}, {"best": 1, "seeds": 3}]
)
def test_seeds_outside_of_the_directory_are_refused(tmp_path, seeds):
    (tmp_path / "seeds.json").write_text(json.dumps(seeds))
    for find in (finished_run, finished_runs):
        with pytest.raises(InputError, match=r"seeds\.json has seeds that are not integers"):
            find(tmp_path)


@pytest.mark.parametrize("path", ["../other", "/etc", "0/../..", "linked"])
def test_runs_of_a_grid_outside_of_the_directory_are_refused(tmp_path, path):
    grid = tmp_path / "grid"
    grid.mkdir()
    (grid / "linked").symlink_to(tmp_path)
    (grid / "runs.csv").write_text(f"path,overrides,state\n{path},model=mf,complete\n")
    with pytest.raises(InputError, match=r"runs\.csv is not the table of a grid: .* is outside the folder"):
        finished_runs(grid)
    (grid / "runs.csv").write_text("path,overrides,state\n0,model=mf seed=2,complete\n1,model=mf,failed\n")
    assert finished_runs(grid) == [("model=mf", grid / "0")]


def test_a_grid_is_not_loaded_as_a_run(tmp_path):
    (tmp_path / "runs.csv").write_text("path,overrides,state\n0,model=mf,failed\n1,model=ease,complete\n")
    with pytest.raises(InputError, match=r"holds the 1 runs of a grid: name one of them, e\.g\. .*/1$"):
        finished_run(tmp_path)
