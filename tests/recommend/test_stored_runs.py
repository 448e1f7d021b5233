"""Runs, studies and exports stored in tests/fixtures: they load, and give the lists they gave when written.

`of_users.csv` and `of_histories.csv` were written by the version that saved the runs. A later format gets a folder
of its own; existing folders stay.
"""

import json
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from optuna.trial import TrialState

from jaxrec import recommend
from jaxrec.checkpoint import MODEL_FILE
from jaxrec.errors import InputError
from jaxrec.recommend.exported import Exported
from jaxrec.rundir import check_study, read_config
from jaxrec.settings import build
from jaxrec.sweep.plan import fill_or_check
from jaxrec.sweep.space import space_from_yaml
from jaxrec.sweep.storage import open_storage
from jaxrec.sweep.study import command, open_study
from jaxrec.sweep.tuning import Tuning
from tests.slow import some_slow

FIXTURES = Path(__file__).parent.parent / "fixtures"
V1, V2 = FIXTURES / "runs-0.1.0", FIXTURES / "format-2"
MODELS = ("ease", "mf", "sasrec", "softmax_dnn")
STUDY = "synthetic-matrixfactorization-a2dfe9"


@pytest.mark.parametrize("model", MODELS)
def test_a_run_of_0_1_0_gives_its_original_lists(model):
    check(V1 / model)
    run = recommend.load(V1 / model)
    if model in ("mf", "softmax_dnn"):
        item = run.item_ids.tolist().index("item-04")
        assert run.titles[item] == "Title 4"
        assert run.categories.of(item) == ["even", "early"]


@pytest.mark.parametrize("model", some_slow(MODELS, "sasrec", "softmax_dnn"))
def test_a_run_of_format_2_gives_its_original_lists(model):
    check(V2 / model)
    assert read_config(V2 / model)["model"]["_target_"].startswith("jaxrec.models.")


def check(directory: Path) -> None:
    run = recommend.load(directory)
    of_users, of_histories = (pd.read_csv(directory / f"of_{what}.csv") for what in ("users", "histories"))
    histories = [run.item_ids[[0, 2, 4]].tolist(), run.item_ids[[5]].tolist()]
    found = run.recommend(run.user_ids[:6], k=5), run.recommend_histories(histories, k=5)
    for frame, expected in zip(found, (of_users, of_histories), strict=True):
        exact = expected.columns.drop("score").tolist()
        pd.testing.assert_frame_equal(frame[exact], expected[exact], check_dtype=False)
        np.testing.assert_allclose(frame["score"], expected["score"], rtol=1e-5, atol=1e-6)


def test_an_export_of_format_1_gives_the_lists_of_its_run():
    """The folder contains the export of the run `ease`."""
    expected = pd.read_csv(V2 / "ease" / "of_users.csv")
    lists = Exported(V2 / "export").recommend(expected["user_id"].unique().tolist(), k=5)
    assert [item for one in lists for item, _ in one] == expected["item_id"].tolist()
    np.testing.assert_allclose([score for one in lists for _, score in one], expected["score"], rtol=1e-5, atol=1e-6)


def test_a_study_of_format_1_is_shown_and_continued(tmp_path):
    shutil.copytree(V2 / "study", tmp_path / "study")
    study, directory = open_study(STUDY, tmp_path)
    expected = pd.read_csv(V2 / "study" / "trials.csv")
    assert directory == tmp_path / "study"
    assert [trial.value for trial in study.trials] == pytest.approx(expected["value"].tolist(), rel=1e-15)
    assert "optimizer.learning_rate=0.003" in command(study, 0)
    check_study(directory, STUDY, overwrite=False)
    storage = open_storage(None, directory)
    new = storage.create_new_trial(storage.get_study_id_from_name(STUDY))
    assert storage.get_trial(new).number == 4
    assert storage.get_trial(new).state == TrialState.RUNNING
    assert recommend.load(tmp_path / "study").model.embedding_dim == 4


def changed(file: Path, **values: object) -> None:
    """Replace values of a JSON file, and remove its checksum."""
    about = json.loads(file.read_text())
    about.get("arrays", {}).pop("json", None)
    file.write_text(json.dumps(about | values))


def test_unknown_formats_are_refused_in_one_line(tmp_path):
    shutil.copytree(V2, tmp_path, dirs_exist_ok=True)
    changed(tmp_path / "mf" / "model" / MODEL_FILE, format=9)
    changed(tmp_path / "export" / "about.json", format=9)
    journal = tmp_path / "study" / "journal.log"
    journal.write_text(journal.read_text().replace('{"format":1}', '{"format":9}'))
    for load, reason in (
        (lambda: recommend.load(tmp_path / "mf"), r"model\.json has format 9, .*: update jaxrec"),
        (lambda: Exported(tmp_path / "export"), "has format 9, supported is 1: use its own load.py"),
        (lambda: open_study(STUDY, tmp_path), "has format 9, .*: update jaxrec"),
    ):
        with pytest.raises(ValueError, match=reason) as caught:
            load()
        assert "\n" not in str(caught.value)
        assert isinstance(caught.value, InputError) or load.__code__.co_names[0] == "Exported"


def test_a_damaged_export_is_refused(tmp_path):
    shutil.copytree(V2 / "export", tmp_path, dirs_exist_ok=True)
    for name in ("program.bin", "tables.npz", "weights.npz"):
        content = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(content[:-30] + bytes([content[-30] ^ 4]) + content[-29:])
        with pytest.raises(ValueError, match=f"{name} is damaged: its checksum is wrong"):
            Exported(tmp_path)
        (tmp_path / name).write_bytes(content)
    Exported(tmp_path)


def test_an_exported_program_cannot_call_code_outside_of_it(tmp_path):
    shutil.copytree(V2 / "export", tmp_path, dirs_exist_ok=True)
    call = jax.ffi.ffi_call("xla_ffi_python_cpu_callback", jax.ShapeDtypeStruct((), jnp.float32))
    allowed = [jax.export.DisabledSafetyCheck.custom_call("xla_ffi_python_cpu_callback")]
    program = jax.export.export(jax.jit(lambda x: call(x)), disabled_checks=allowed)(jnp.float32(1))
    (tmp_path / "program.bin").write_bytes(program.serialize())
    changed(tmp_path / "about.json", sha256={})
    with pytest.raises(ValueError, match=r"program\.bin calls code outside of the program, so it is not run"):
        Exported(tmp_path)


def test_a_stored_study_is_continued_with_settings_that_are_newer(compose, tmp_path):
    """Settings that the study lacks have the values it was trained with, unless they are changed."""
    shutil.copytree(V2 / "study", tmp_path / "study")
    study, _ = open_study(STUDY, tmp_path)
    overrides = study.user_attrs["overrides"]
    assert "optimizer.clip_norm" not in study.user_attrs["fixed"]

    def check(*more: str) -> None:
        tree = compose(*overrides, *more)
        tuning = Tuning(tree, space_from_yaml(study.user_attrs["space"]), compose)
        fill_or_check(study, tuning.plan(build(tree["sweep"])))

    check()
    with pytest.raises(InputError, match=r"optimizer\.clip_norm: was None, now 1\.0"):
        check("optimizer.clip_norm=1.0")
