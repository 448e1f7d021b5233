import json
import os
import time
from pathlib import Path

import optuna
import pytest
from sqlalchemy.pool import NullPool

from jaxrec.errors import InputError
from jaxrec.sweep.ask_and_tell import set_attributes
from jaxrec.sweep.journal import read_journal
from jaxrec.sweep.storage import open_storage
from tests.paths import ROOT

STORED = ROOT / "tests" / "fixtures" / "format-2" / "study"


def add_trials(storage, n):
    study = optuna.create_study(study_name="s", storage=storage, load_if_exists=True)
    for value in range(n):
        study.tell(study.ask({"x": optuna.distributions.FloatDistribution(0, 1)}), float(value))
    return study


@pytest.fixture
def journal(tmp_path):
    add_trials(open_storage(None, tmp_path), 3)
    return tmp_path / "journal.log"


def test_a_partial_last_line_is_removed_and_saved_in_a_file(journal, caplog):
    whole = journal.read_bytes()
    for n, tail in enumerate([b'{"op_code":4,"worker', b'{"op_code":4,"wor\n', b"\0\0\0", b'"text"\n'], start=1):
        journal.write_bytes(whole + tail)
        storage = open_storage(None, journal.parent)
        assert journal.read_bytes() == whole
        assert journal.with_name(f"journal.log.broken-{n}").read_bytes() == tail
        assert f"moved {len(tail)} bytes" in caplog.messages[-1]
        assert len(optuna.load_study(study_name="s", storage=storage).trials) == 3
    add_trials(open_storage(None, journal.parent), 1)
    assert not journal.with_name("journal.log.broken-5").exists()


def test_a_truncated_line_does_not_damage_lines_of_other_processes(journal, caplog):
    study = optuna.load_study(study_name="s", storage=open_storage(None, journal.parent))
    with journal.open("ab") as file:
        file.write(b'{"op_code":4,"worker')  # another process, killed now
    add_trials(study._storage, 2)
    assert len(study.trials) == 5
    assert all(json.loads(line) for line in journal.read_text().splitlines())
    assert journal.with_name("journal.log.broken-1").read_bytes() == b'{"op_code":4,"worker'


def test_a_broken_line_in_the_middle_is_an_error_with_its_number(journal):
    lines = journal.read_bytes().splitlines(keepends=True)
    lines[4] = lines[4][:10] + b"\n"
    journal.write_bytes(b"".join(lines))
    for opened in (lambda: open_storage(None, journal.parent), lambda: read_journal(journal)):
        with pytest.raises(InputError, match=r"journal\.log: line 5 is not a journal record"):
            opened()
    assert journal.read_bytes() == b"".join(lines)


def test_reading_changes_nothing(journal):
    broken = journal.read_bytes() + b'{"op'
    journal.write_bytes(broken)
    assert len(optuna.load_study(study_name="s", storage=read_journal(journal)).trials) == 3
    assert journal.read_bytes() == broken


def test_a_stale_optuna_lock_has_no_effect(tmp_path, caplog):
    (tmp_path / "journal.log.lock").symlink_to("journal.log")
    started = time.monotonic()
    add_trials(open_storage(None, tmp_path), 1)
    assert time.monotonic() - started < 5


def test_other_storages_of_a_study(tmp_path):
    add_trials(open_storage(str(tmp_path / "other.log"), tmp_path), 1)
    assert (tmp_path / "other.log").is_file()
    storage = open_storage(f"sqlite:///{tmp_path / 'sweeps.db'}", tmp_path)
    assert isinstance(storage, optuna.storages.RDBStorage)
    assert len(add_trials(storage, 2).trials) == 2
    assert isinstance(storage.engine.pool, NullPool)  # Python 3.13 warns about connections that are left open


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("journal.txt", "sweep.storage=journal.txt is neither a journal file"),
        ("nosuch://user:secret@host/db", "cannot open the storage nosuch://...@host/db"),
        ("sqlite:////no/such/folder/x.db", "unable to open database file"),
    ],
)
def test_a_storage_that_cannot_be_opened(url, message, tmp_path):
    with pytest.raises(InputError) as error:
        open_storage(url, tmp_path)
    assert message in str(error.value)
    assert "secret" not in str(error.value)


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("values", ["x"], "values are not numbers"),
        ("values", [1.0, 2.0], "trials have other objectives than their study"),
        ("user_attr", 3, "TypeError|AttributeError"),
        ("op_code", 99, "AssertionError"),
        ("directions", [], "ValueError|AssertionError"),
        ("distribution", "no JSON", "JSONDecodeError"),
    ],
)
def test_records_that_are_not_those_of_optuna_are_refused_in_one_line(tmp_path, key, value, reason):
    records = [json.loads(line) for line in (STORED / "journal.log").read_text().splitlines()]
    place = next(i for i, record in enumerate(records) if record.get(key) is not None and key in record)
    records[place][key] = value
    (tmp_path / "journal.log").write_text("".join(f"{json.dumps(record)}\n" for record in records))
    for read in (lambda: read_journal(tmp_path / "journal.log"), lambda: open_storage(None, tmp_path)):
        with pytest.raises(InputError, match=f"journal.log is damaged .*({reason})") as caught:
            read()
        assert "\n" not in str(caught.value)


def test_attributes_of_a_trial_are_one_write_and_a_cut_one_leaves_the_first(tmp_path, monkeypatch):
    study = optuna.create_study(study_name="s", storage=open_storage(None, tmp_path))
    trial, syncs = study.ask(), []
    fsync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda file: (syncs.append(file), fsync(file)))
    set_attributes(study, trial, {"a": 1, "b": [2.5, None], "worker": "me"})
    assert len(syncs) == 1
    assert trial.user_attrs == {"a": 1, "b": [2.5, None], "worker": "me"}
    trial.report(0.25, 3)
    assert len(syncs) == 1  # reporting a validation does not wait for the disk
    study.tell(trial, 0.5)
    assert len(syncs) > 1
    (other,) = read_journal(tmp_path / "journal.log").get_all_trials(0)
    assert (other.user_attrs, other.intermediate_values, other.value) == (trial.user_attrs, {3: 0.25}, 0.5)
    whole = (tmp_path / "journal.log").read_bytes()
    cut = whole[: whole.index(b'"b":[') + 3]
    (tmp_path / "journal.log").write_bytes(cut)
    (left,) = open_storage(None, tmp_path).get_all_trials(0)
    assert left.user_attrs == {"a": 1}


def test_attributes_in_other_storages_are_set_one_by_one():
    study = optuna.create_study()
    trial = study.ask()
    set_attributes(study, trial, {"a": 1, "b": 2})
    assert trial.user_attrs == {"a": 1, "b": 2}


@pytest.mark.parametrize("url", [None, "own.log"])
def test_a_journal_stays_in_its_folder_when_the_working_directory_changes(url, tmp_path, monkeypatch):
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "one")
    storage = open_storage(url, Path())
    monkeypatch.chdir(tmp_path / "other")
    optuna.create_study(storage=storage)
    assert not list((tmp_path / "other").iterdir())
