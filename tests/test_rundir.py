"""A sweep directory belongs to one study; files left by a killed process are removed."""

import json

import numpy as np
import optuna
import pandas as pd
import pytest

import jaxrec
from jaxrec import rundir, settings
from jaxrec.errors import InputError
from jaxrec.fitting.saved_slots import SavedMember
from jaxrec.sweep.storage import open_storage

ITEMS = np.arange(10), np.arange(10)[::-1]


def test_a_directory_is_claimed_by_one_study(tmp_path):
    for _ in range(2):  # a study continues in its own directory
        rundir.claim(tmp_path, "mf/first", overwrite=False)
    for refused in (rundir.check_study, rundir.claim):
        with pytest.raises(
            InputError, match=r"already holds the study mf/first: .*sweep\.study_name=mf/first"
        ) as error:
            refused(tmp_path, "mf/second", False)
        assert "\n" not in str(error.value)
    rundir.claim(tmp_path, "mf/second", overwrite=True)
    rundir.check_study(tmp_path, "mf/second", False)


def test_a_search_of_0_1_0_is_known_by_its_journal(tmp_path):
    rundir.check_study(tmp_path, "any", False)
    optuna.create_study(study_name="old", storage=open_storage(None, tmp_path))
    rundir.check_study(tmp_path, "old", False)
    with pytest.raises(InputError, match="already holds the study old"):
        rundir.claim(tmp_path, "new", False)
    assert not (tmp_path / "study.txt").exists()


def test_a_search_in_a_database_is_not_overwritten_by_a_grid(tmp_path):
    """There is no journal by which to recognize it."""
    rundir.claim(tmp_path, "a", overwrite=False)
    with pytest.raises(InputError, match="already holds a search"):
        rundir.check_empty(tmp_path, False, "grid")
    rundir.check_empty(tmp_path, False, "search")


@pytest.mark.parametrize(
    ("file", "content", "is_finished"),
    [
        ("metrics.json", {"interrupted": False}, True),
        ("metrics.json", {"interrupted": True}, False),
        ("seeds.json", {}, True),
        ("runs.csv", {}, True),
    ],
)
def test_refusing_a_finished_run_removes_its_training_states(tmp_path, file, content, is_finished):
    """Its process was killed after the results were written; an interrupted run keeps them."""
    (tmp_path / "training" / "a").mkdir(parents=True)
    (tmp_path / file).write_text(json.dumps(content))
    kind = {"seeds.json": "run with several seeds", "runs.csv": "grid"}.get(file, "run")
    with pytest.raises(InputError, match=f"already holds a {kind}"):
        rundir.check_empty(tmp_path, False, kind)
    assert (tmp_path / "training").exists() != is_finished


def test_resuming_a_finished_run_removes_its_training_states(tmp_path):
    (tmp_path / "training" / "a").mkdir(parents=True)
    (tmp_path / "config.yaml").write_text("data: {}\nsplit: {}\n")
    (tmp_path / "metrics.json").write_text("{}")
    with pytest.raises(InputError, match="this run is finished"):
        rundir.check_resumable(tmp_path)
    assert not (tmp_path / "training").exists()


def test_no_file_of_a_run_holds_the_password_of_a_storage(compose, tmp_path):
    tree = settings.put(compose(), {"sweep.storage": "postgresql+psycopg://ada:s3cret@host/studies"})
    rundir.write_config(tmp_path, tree)
    text = (tmp_path / "config.yaml").read_text()
    assert "s3cret" not in text
    assert "ada@host/studies" in text


def test_training_states_of_other_data_are_ignored(tmp_path):
    """A run that was killed starts again if its data has changed since."""
    frames = [pd.DataFrame({"user_id": np.repeat([1, 2, 3], 10), "item_id": np.tile(items, 3)}) for items in ITEMS]
    same, changed = (jaxrec.split(frame).selection for frame in frames)
    tree = {"trainer": {"save_minutes": 1}}
    record = {"history": [{"epoch": 1}]}
    rundir.saved_slots(tmp_path, [tree], same).save({"0": SavedMember(record, {"x": np.zeros(1)}, None)})
    assert rundir.saved_slots(tmp_path, [tree], same).epoch == 1
    assert rundir.saved_slots(tmp_path, [tree], changed).epoch == 0
