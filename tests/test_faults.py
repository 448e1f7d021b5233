"""Faults of the machine: each gives one clear message, and existing files are kept."""

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from jax.errors import JaxRuntimeError
from optuna.trial import FrozenTrial, TrialState

from jaxrec import launch
from jaxrec.atomic_files import write_text
from jaxrec.cli.exit_codes import exit_code_of
from jaxrec.errors import InputError
from jaxrec.rundir import LOCK_FILE, exclusive
from jaxrec.sweep import study
from jaxrec.sweep.journal import read_journal
from jaxrec.sweep.outcome import Outcome
from jaxrec.sweep.storage import open_storage
from tests.planted import PLANTED
from tests.sweep.recorder import Recorder, n_done, quadratic, sweep

HELD = "import fcntl, sys; file = open(sys.argv[1], 'w'); fcntl.flock(file, fcntl.LOCK_EX); print(); input()"
WRITES = (
    *("config.yaml", "config.yaml", "params.safetensors", "model.json", "per_user.parquet", "history.csv"),
    *("report.html", "metrics.json"),
)


def files_in(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def tree(compose):
    return compose(*PLANTED, "model=popularity")


def failing_at(number: int, code: int):
    """Make `os.replace` fail at its n-th call, as if the disk were full by then."""
    calls, replace = [], os.replace

    def fail(*paths):
        calls.append(paths)
        if len(calls) == number:
            raise OSError(code, os.strerror(code))
        return replace(*paths)

    return fail


@pytest.mark.parametrize("number", [1, 4, 8])
def test_a_disk_that_is_full_at_any_write_of_a_run(tree, tmp_path, monkeypatch, number):
    """The run is either complete or unfinished, and the same command then writes it."""
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", failing_at(number, errno.ENOSPC))
        with pytest.raises(InputError, match=r"^Cannot write .*: the disk is full; free some space") as caught:
            launch.run(tree, tmp_path)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "metrics.json").exists()
    assert files_in(tmp_path) == set(WRITES[: number - 1])  # and no partial file
    launch.run(tree, tmp_path)
    assert files_in(tmp_path) == set(WRITES)


OUTPUTS = {  # command → files that mark its folders as complete, and its arguments
    "run": (["metrics.json"], "train", *PLANTED, "model=popularity", "overwrite=true", "hydra.run.dir={out}"),
    "grid": (
        ["runs.csv", "0/metrics.json"],
        *("train", "--multirun", *PLANTED, "model=popularity,ease", "overwrite=true", "hydra.sweep.dir={out}"),
    ),
    "export": (["about.json"], "export", "run={run}", "platforms=[cpu]", "out={out}"),
    "explore": (["report.html"], "explore", *PLANTED, "out={out}"),
    "pipeline": (["report.html"], "pipeline", "run={run}", "out={out}"),
}


@pytest.mark.whole
@pytest.mark.parametrize("name", OUTPUTS)
def test_an_output_is_not_complete_while_it_is_replaced(name, command, planted_run, tmp_path, monkeypatch):
    """Whatever stops the command: a mixture of old and new files is never a complete output."""
    marks, *words = OUTPUTS[name]
    words = [word.format(run=planted_run("model=popularity"), out=tmp_path / "out") for word in words]
    assert command(*words).returncode == 0
    assert all((tmp_path / "out" / mark).exists() for mark in marks)
    monkeypatch.setattr(os, "replace", failing_at(1, errno.ENOSPC))
    assert command(*words).returncode == 2
    assert not any((tmp_path / "out" / mark).exists() for mark in marks)


def test_the_table_of_a_grid_comes_last_and_then_its_training_states_are_removed(tree, tmp_path, monkeypatch):
    """If killed in between, the same command continues from them, or has nothing to do."""
    order, replace, rmtree = [], os.replace, shutil.rmtree
    monkeypatch.setattr(os, "replace", lambda old, new: (order.append(Path(new).name), replace(old, new)))
    monkeypatch.setattr(shutil, "rmtree", lambda path, **how: (order.append(Path(path).name), rmtree(path, **how)))
    launch.grid([(tree, ["model=popularity"])], tmp_path)
    assert order[-3:] == ["report.html", "runs.csv", "training"]


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 1 MB; tests are skipped if it cannot be mounted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("file systems cannot be mounted here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_small_disk(tree, small_disk):
    """The report does not fit; files written before it are kept, and a journal keeps its complete records."""
    with pytest.raises(InputError, match=r"Cannot write report\.html in .*disk: the disk is full"):
        launch.run(tree, small_disk)
    assert files_in(small_disk) == set(WRITES[:6])
    storage = open_storage(None, small_disk)
    study = storage.create_new_study([1], "study")
    with pytest.raises(OSError, match="No space left"):
        any(storage.set_study_user_attr(study, "x", "y" * 20_000) for _ in range(100))
    (small_disk / "model" / "params.safetensors").unlink()
    again = open_storage(None, small_disk)  # the last record was truncated
    again.set_study_user_attr(study, "x", "z")
    assert open_storage(None, small_disk).get_study_user_attrs(study) == {"x": "z"}


def test_a_read_only_disk(command, small_disk):
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    done = command("train", *PLANTED, "model=popularity", f"hydra.run.dir={small_disk / 'run'}")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "Read-only file system" in done.stderr
    assert "hydra.run.dir" in done.stderr


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (MemoryError("Unable to allocate 9. GiB"), "out of memory: decrease trainer.batch_size"),
        (JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes.\nmore"), "out of memory: decrease"),
        (OSError(errno.ENOSPC, "No space left on device", "/x/journal.log"), "/x/journal.log: the disk is full"),
        (PermissionError(errno.EACCES, "Permission denied", "/x"), "/x: permission denied; change the permissions of"),
        (OSError(errno.ESTALE, "Stale file handle", "/x"), "/x: the folder was removed or its server restarted"),
    ],
)
def test_messages_if_the_machine_is_out_of_resources(capsys, error, message):
    def fail() -> None:
        raise error

    assert exit_code_of(fail) == 2
    printed = capsys.readouterr().err
    assert printed.startswith(f"error: {message}")
    assert printed.count("\n") == 1


def test_a_machine_without_resources_prints_one_line(command, monkeypatch):
    """Hydra prints the overrides before an error that passes through it."""

    def fail(root):
        raise PermissionError(errno.EACCES, "Permission denied", "/x")

    monkeypatch.setattr(study, "list_studies", fail)
    done = command("study")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith("error: /x: permission denied")


@pytest.mark.parametrize("error", [JaxRuntimeError("INTERNAL: a bug"), OSError(errno.EBADF, "Bad file descriptor")])
def test_other_errors_are_not_hidden(error):
    def fail() -> None:
        raise error

    with pytest.raises(type(error)):
        exit_code_of(fail)


def test_a_second_process_in_the_same_directory(tree, tmp_path):
    """It is refused while the first runs, but not after the first was killed."""
    line = [sys.executable, "-c", HELD, str(tmp_path / LOCK_FILE)]
    with subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        other.stdout.readline()
        with pytest.raises(InputError, match="is in use by another process"):
            launch.run(tree, tmp_path)
        assert [path.name for path in tmp_path.iterdir()] == [LOCK_FILE]
        other.kill()
    with exclusive(tmp_path):
        assert (tmp_path / LOCK_FILE).exists()
    assert list(tmp_path.iterdir()) == []


def test_a_file_system_without_locks(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("jaxrec.sweep.file_lock._lock", refuse)
    with exclusive(tmp_path):
        write_text(tmp_path / "x", "1")
    assert (tmp_path / "x").read_text() == "1"


def test_a_successful_rename_that_nfs_reports_as_failed(tmp_path, monkeypatch):
    """The first response was lost, and the retry reports a missing file: it has been renamed."""
    replace = os.replace

    def twice(*paths):
        replace(*paths)
        replace(*paths)

    write_text(tmp_path / "file.txt", "old")
    monkeypatch.setattr(os, "replace", twice)
    write_text(tmp_path / "file.txt", "new")
    assert (tmp_path / "file.txt").read_text() == "new"
    monkeypatch.setattr(os, "replace", lambda one, other: Path(one).unlink() or replace(one, other))
    with pytest.raises(InputError, match=r"Cannot write file\.txt in .*: the folder was removed"):
        write_text(tmp_path / "file.txt", "newer")
    assert (tmp_path / "file.txt").read_text() == "new"


def test_a_folder_that_vanishes_is_written_again(tree, tmp_path, monkeypatch):
    """Removed during training: the run is written as into a new folder."""
    select = launch.single.select

    def vanishing(*arguments):
        for path in (tmp_path / "run").iterdir():
            path.unlink()
        (tmp_path / "run").rmdir()
        return select(*arguments)

    monkeypatch.setattr(launch.single, "select", vanishing)
    launch.run(tree, tmp_path / "run")
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["test"]


def test_a_clock_that_jumps(tmp_path):
    """Files from the future do not count as those of killed processes."""
    file = tmp_path / ".tmp-0123abcd-x"
    file.touch()
    os.utime(file, (2**33, 2**33))
    write_text(tmp_path / "x", "")
    assert file.exists()


def test_a_search_on_a_full_disk_continues_when_there_is_space(small_disk):
    """Stored trials are kept; the search then ends with exactly its number of trials."""
    filler = small_disk / "filler"
    filler.write_bytes(bytes(940_000))
    evaluate = Recorder(lambda params: Outcome(quadratic(params), attributes={"note": "x" * 2000}))
    with pytest.raises((OSError, InputError)):
        sweep(small_disk, evaluate, n_trials=30, population=3)
    before = [(t.params, t.value) for t in _trials(small_disk) if t.state == TrialState.COMPLETE]
    assert before
    filler.unlink()
    study = sweep(small_disk, evaluate, n_trials=30, population=3)
    assert n_done(study) == 30
    assert [(t.params, t.value) for t in study.trials if t.state == TrialState.COMPLETE][: len(before)] == before


def _trials(directory: Path) -> list[FrozenTrial]:
    storage = read_journal(directory / "journal.log")
    (study,) = storage.get_all_studies()
    return storage.get_all_trials(study._study_id)
