"""Temporary folders of killed processes are removed by the next one, those in use are kept."""

import os
import stat
import tempfile
import time

import pytest

from jaxrec.sweep.file_lock import FileLock
from jaxrec.sweep.scratch import LOCK, PREFIX, scratch_folder


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def left(folder, minutes):
    """Make a folder with a file, as a process that was killed so many minutes ago left it."""
    folder.mkdir()
    (folder / LOCK).touch()
    (folder / "search.pickle").touch()
    moment = time.time() - 60 * minutes
    os.utime(folder, (moment, moment))


def test_a_folder_is_private_and_is_removed(temporary):
    with scratch_folder() as folder:
        (folder / "x").touch()
        assert folder.parent == temporary
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        os.utime(folder, (0, 0))
        with scratch_folder() as other:
            assert other != folder
            assert (folder / "x").exists()  # old, but in use
    assert not list(temporary.iterdir())


def test_folders_of_killed_processes_are_removed(temporary):
    for name, minutes in ((f"{PREFIX}old", 2), (f"{PREFIX}young", 0), ("another", 2), (f"{PREFIX}used", 2)):
        left(temporary / name, minutes)
    with FileLock(temporary / f"{PREFIX}used" / LOCK), scratch_folder():
        pass
    assert {path.name for path in temporary.iterdir()} == {f"{PREFIX}young", "another", f"{PREFIX}used"}
