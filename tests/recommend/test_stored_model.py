"""What a run directory that somebody else wrote can and cannot do when it is read."""

from pathlib import Path

import numpy as np
import pytest

from jaxrec import recommend
from jaxrec.checkpoint import save_params
from jaxrec.errors import InputError
from jaxrec.models.ease import EASE
from jaxrec.pipeline.pipeline import Run
from jaxrec.settings import check_registered, registered

TARGET = "jaxrec.models.ease.EASE"


class Mine(EASE):
    """A model that jaxrec knows nothing of."""


def write(directory: Path, module: object, weights: np.ndarray | None = None, left_out: tuple = ()) -> Path:
    """A run of EASE on four items, two users."""
    weights = np.eye(4, k=1, dtype=np.float32) if weights is None else weights
    known = {"offsets": np.array([0, 1, 3]), "items": np.array([0, 1, 2], np.int32)}
    none = dict.fromkeys(("event", "gap", "value", "target"))
    extra = {
        "module": module,
        "user_ids": np.array([7, 8]),
        "item_ids": np.arange(4),
        **{f"known_{name}": column for name, column in (known | none).items()},
    }
    extra = {name: value for name, value in extra.items() if name not in left_out}
    save_params(directory / "model", {"params": {"weights": weights}}, extra=extra)
    return directory


def module(target: str = TARGET, **fields: object) -> dict:
    return {"_target_": target, "n_items": 4, "history_length": 4, **fields}


def executed(directory: Path) -> list[dict]:
    """Modules each of which would write the file `executed` if it were built."""
    mark = f"touch {directory / 'executed'}"
    return [
        {"_target_": "os.system", "command": mark},
        {"_target_": "subprocess.getoutput", "cmd": mark},
        {"_target_": "jaxrec.checkpoint.write_text", "path": str(directory / "executed"), "text": ""},
        {"_target_": "jaxrec.models.ease.jax.numpy.save", "file": str(directory / "executed"), "arr": 0},
        {"_target_": "jaxrec.models.ease.sparse.save_npz", "file": str(directory / "executed")},
        {"_target_": "jaxrec.models..os.system", "command": mark},
        module(regularization={"_target_": "os.system", "command": mark}),
        module(regularization=[{"_target_": "os.system", "command": mark}]),
    ]


@pytest.mark.parametrize("which", range(8))
def test_what_is_no_model_is_not_built(tmp_path, which):
    run = write(tmp_path, executed(tmp_path)[which])
    with pytest.raises(InputError, match=r"params\.npz .*not loaded|not loaded") as error:
        recommend.load(run)
    assert str(tmp_path / "model" / "params.npz") in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "executed").exists()


def test_a_model_of_the_callers_own(tmp_path):
    run = write(tmp_path, module(f"{Mine.__module__}.Mine"))
    with pytest.raises(InputError, match=r"names the model .*Mine, which is not among those of jaxrec.*model=MyModel"):
        recommend.load(run)
    assert isinstance(recommend.load(run, model=Mine).model, Mine)
    with pytest.raises(InputError, match=r"holds a .*Mine, not a EASE"):
        recommend.load(run, model=EASE)


def test_a_run_of_another_version(tmp_path):
    """One line that names the file and says so, whatever differs."""
    cases = {
        "field_of_later": write(tmp_path / "a", module(field_of_later=1)),
        r"cannot be built from its fields \(.*\): another version": write(tmp_path / "b", {"_target_": TARGET}),
        r"weights'\] of EASE has shape \(3, 3\) where .* expects \(4, 4\)": write(
            tmp_path / "c", module(), np.zeros((3, 3), np.float32)
        ),
        "not what this version of jaxrec writes .*user_ids": write(tmp_path / "d", module(), left_out=("user_ids",)),
        "names no model": write(tmp_path / "e", None),
    }
    for said, run in cases.items():
        with pytest.raises(InputError, match=said) as error:
            recommend.load(run)
        assert str(run / "model" / "params.npz") in str(error.value)
        assert "\n" not in str(error.value)


def test_a_configuration_builds_what_conf_names(tmp_path):
    """Nested as deep as may be, and before anything of the file is used."""
    assert {"jaxrec.models.ease.EASE", "jaxrec.data.files.files", "jaxrec.losses.bpr"} <= registered()
    run = write(tmp_path, module())
    evil = {"data": {"_target_": "jaxrec.data.files.files", "x": [{"_target_": "os.system", "command": "true"}]}}
    with pytest.raises(InputError, match=r"config\.yaml has _target_: os\.system, which conf/ does not name"):
        check_registered(evil, run / "config.yaml")
    (run / "config.yaml").write_text("data: {_target_: os.system, command: 'true'}\nsplit: {}\n")
    with pytest.raises(InputError, match=r"config\.yaml has _target_: os\.system"):
        Run.open(run)
    for text in ("- 1\n", "x: [\n", "data: 1\n"):
        (run / "config.yaml").write_text(text)
        with pytest.raises(InputError, match=r"config\.yaml") as error:
            Run.open(run)
        assert "\n" not in str(error.value)
