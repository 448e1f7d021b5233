"""A folder given by --config-path chooses settings; it runs no code, and reads and changes no other files."""

import os

import pytest

from jaxrec import settings
from jaxrec.cli.settings_folders import check_config_path, check_folders
from jaxrec.errors import InputError
from jaxrec.rundir import write_config

OWN = """
data: {path: '\\${x}.csv', n: 3, other: '${data.n}'}
hydra:
  run: {dir: "outputs/runs/repeat-${now:%Y%m%d-%H%M%S-%f}"}
  output_subdir: null
defaults:
  - _self_
  - override hydra/sweeper: jaxrec
  - override hydra/job_logging: disabled
  - override hydra/hydra_logging: disabled
"""


def test_the_configuration_of_a_run_is_accepted(tmp_path):
    (tmp_path / "config.yaml").write_text(OWN)
    (tmp_path / "circle").symlink_to(tmp_path)
    check_config_path(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model: {_target_: os.system}", "has _target_: os.system"),
        ("hydra: {callbacks: {x: {_target_: os.system}}}", "has _target_: os.system"),
        ("hydra: {searchpath: ['file:///elsewhere']}", "sets hydra.searchpath"),
        ("hydra: {job: {env_set: {PATH: /elsewhere}}}", "sets hydra.job"),
        ("hydra: {launcher: {n_jobs: 2}}", "sets hydra.launcher"),
        ("defaults: [override hydra/launcher: submitit_slurm]", "has the default override hydra/launcher"),
        ("defaults: ['override hydra/sweeper': other]", "has the default override hydra/sweeper: other"),
        ("defaults: [model@hydra.callbacks.x: mf]", "has the default model@hydra"),
        ("# @package hydra.callbacks\nx: 1", "has a @package"),
        ("x: ${oc.env:SECRET}", "may only refer to other settings"),
        ("x: ['a ${${y}.env:SECRET} b']", "may only refer to other settings"),
        ("model: '${oc.create:{_target_: os.system}}'", "may only refer to other settings"),
        ("x: '\\\\${a} ${hydra:overrides.task}'", "may only refer to other settings"),
        ("x: !!python/object/apply:os.system [touch mark]", "cannot be read"),
    ],
)
@pytest.mark.parametrize("place", ["config.yaml", "model/mf.yaml", "linked"])
def test_a_configuration_that_does_more_is_refused(tmp_path, text, message, place):
    folder = tmp_path / "run"
    folder.mkdir()
    file = folder / place
    if place == "linked":
        (tmp_path / "elsewhere").mkdir()
        file.symlink_to(tmp_path / "elsewhere")
        file = file / "mf.yaml"
    file.parent.mkdir(exist_ok=True)
    file.write_text(text)
    with pytest.raises(InputError) as caught:
        check_config_path(folder)
    assert message in str(caught.value)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_abbreviated_option_is_checked_too(command, tmp_path):
    (tmp_path / "config.yaml").write_text("hydra: {searchpath: ['file:///elsewhere']}")
    done = command("train", f"--config-pa={tmp_path}", "--config-name", "config")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "sets hydra.searchpath" in done.stderr


def test_every_configuration_that_a_run_writes_is_accepted(compose, tmp_path):
    write_config(
        tmp_path, settings.put(compose("data=files", "data.path=x", "model=sasrec"), {"data.path": "${x} \\${x}"})
    )
    check_config_path(tmp_path)


def test_a_folder_of_own_settings_must_be_readable(tmp_path, monkeypatch):
    """Hydra would leave its settings out without a word."""
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(InputError, match=f"{tmp_path} cannot be read: permission denied"):
        check_folders(["--config-dir", str(tmp_path)])
