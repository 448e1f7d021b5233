"""Fuzzing of saved runs, exports and journals: an InputError, or what was saved."""

import functools
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st

from jaxrec import checkpoint, recommend
from jaxrec.compare import compare
from jaxrec.errors import InputError
from jaxrec.finished import finished_runs
from jaxrec.rundir import check_resumable, read_config
from jaxrec.sweep.storage import open_storage
from jaxrec.sweep.study import command, list_studies, open_study
from jaxrec.sweep.trials import leaderboard
from tests.fuzz.reading import folder
from tests.fuzz.target import Target, damaged, one_line
from tests.fuzz.values import damages, trees
from tests.paths import ROOT

STORED = ROOT / "tests" / "fixtures" / "format-2"
STUDY = "synthetic-matrixfactorization-a2dfe9"
PARTS = ("model/model.json", "model/params.safetensors", "config.yaml", "metrics.json", "per_user.parquet")


@functools.cache
def original(name: str) -> tuple[Any, Any]:
    """Parameters and extras of a stored run."""
    params, extra = checkpoint.load(STORED / name / "model")
    return params, extra


def copy(name: str) -> Path:
    """A fresh copy of a stored run, export or study."""
    target = folder() / name
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(STORED / name, target)
    return target


def check_damage(found: tuple[str, str, list[tuple[str, int, bytes]]]) -> None:
    """Damage files of a run: the model is refused or unchanged; other files are refused or read."""
    name, part, changes = found
    run = copy(name)
    file = run / part
    file.write_bytes(damaged(file.read_bytes(), changes))
    for use in (read_config, check_resumable, finished_runs, lambda run: compare([str(run)] * 2)):
        try:
            use(run)
        except InputError as error:
            one_line(error)
    try:
        params, extra = checkpoint.load(run / "model")
    except InputError as error:
        one_line(error)
        return
    for one, other in zip((params, extra), original(name), strict=True):
        assert one.keys() == other.keys()
        for key in one:
            if isinstance(one[key], np.ndarray):
                np.testing.assert_array_equal(one[key], other[key])
            elif not isinstance(one[key], dict):
                assert one[key] == other[key]


extras = st.sampled_from(
    [
        "known_offsets",
        "known_items",
        "user_ids",
        "item_ids",
        "ages",
        "trained_popular",
        "trained_users",
        "trained_items",
    ]
)
arrays = st.lists(st.sampled_from([0, 1, -1, 5, 19, 20, 39, 40, 10**6]), max_size=45).map(np.array) | st.just(
    np.zeros((2, 2))
)
changes = st.lists(
    st.tuples(extras, arrays)
    | st.tuples(st.sampled_from(["arguments", "model", "known_items", "ages", "features_users_schema"]), trees)
    | st.tuples(
        st.just("arguments"),
        st.dictionaries(
            st.sampled_from(["embedding_dim", "n_users", "n_items", "history_length"]), st.integers(-1, 50)
        ),
    ),
    min_size=1,
    max_size=2,
)


def check_tampered(found: list[tuple[str, Any]]) -> None:
    """Change values of a run and correct its checksums: it is refused, or recommends or refuses to."""
    run = folder() / "tampered"
    params, extra = original("ease")
    new = dict(extra)
    for key, value in found:
        new[key] = {**extra["arguments"], **value} if key == "arguments" and isinstance(value, dict) else value
    try:
        checkpoint.save_params(run / "model", params, extra=new)
    except TypeError:  # not what JSON or an array can hold
        return
    try:
        loaded = recommend.load(run)
        found_lists = loaded.recommend(loaded.user_ids[:2].tolist(), k=2)
    except InputError as error:
        one_line(error)
        return
    assert set(found_lists["item_id"]) <= set(loaded.item_ids.tolist())


def check_journal(found: list[tuple[str, int, bytes]]) -> None:
    """A damaged journal is refused, or shows trials; opened for writing, it takes a further trial."""
    study = copy("study")
    journal = study / "journal.log"
    journal.write_bytes(damaged(journal.read_bytes(), found))
    list_studies(study)
    try:
        opened, _ = open_study(STUDY, study)
        leaderboard(opened)
        command(opened, 0)
        storage = open_storage(None, study)
        storage.create_new_trial(storage.get_study_id_from_name(STUDY))
    except InputError as error:
        one_line(error)
        return
    except KeyError:  # the damage renamed the study
        assert STUDY not in journal.read_text(errors="replace").splitlines()[0]


def check_record(found: tuple[int, str, Any]) -> None:
    """Change values in the records of a journal."""
    study = copy("study")
    journal = study / "journal.log"
    lines = journal.read_text().splitlines()
    place = found[0] % len(lines)
    record = json.loads(lines[place])
    key = sorted(record)[len(found[1]) % len(record)]
    lines[place] = json.dumps({**record, key: found[2]})
    journal.write_text("\n".join(lines) + "\n")
    list_studies(study)
    try:
        opened, _ = open_study(STUDY, study)
        leaderboard(opened)
        command(opened, 0)
    except InputError as error:
        one_line(error)


names = st.sampled_from(["mf", "ease"])
DAMAGE = Target(st.tuples(names, st.sampled_from(PARTS), damages), check_damage)
TAMPERED = Target(changes, check_tampered)
JOURNAL = Target(damages, check_journal)
RECORDS = Target(st.tuples(st.integers(0, 100), st.text(max_size=9), trees), check_record)
