"""Run directories from untrusted sources: loading executes nothing."""

import json
from pathlib import Path

import numpy as np
import pytest

from jaxrec import recommend
from jaxrec.checkpoint import save_params
from jaxrec.errors import InputError
from jaxrec.models.ease import EASE
from jaxrec.pipeline.pipeline import Run
from jaxrec.recommend import stored_model
from jaxrec.settings import build, check_registered, registered


class Mine(EASE):
    """A user-defined model."""


def write(directory: Path, stored: dict, weights: np.ndarray | None = None, left_out: tuple = ()) -> Path:
    """Write a run of EASE with four items and two users."""
    weights = np.eye(4, k=1, dtype=np.float32) if weights is None else weights
    known = {"offsets": np.array([0, 1, 3]), "items": np.array([0, 1, 2], np.int32)}
    none = dict.fromkeys(("event", "gap", "value", "target"))
    extra = {
        **stored,
        "user_ids": np.array([7, 8]),
        "item_ids": np.arange(4),
        **{f"known_{name}": column for name, column in (known | none).items()},
    }
    extra = {name: value for name, value in extra.items() if name not in left_out}
    save_params(directory / "model", {"params": {"weights": weights}}, extra=extra)
    return directory


def ease(name: object = "ease", **arguments: object) -> dict:
    return {"model": name, "arguments": {"n_items": 4, "history_length": 4, **arguments}}


def executed(directory: Path) -> list[dict]:
    """Models that would each write the file `executed` if they were built."""
    mark, file = f"touch {directory / 'executed'}", str(directory / "executed")
    return [
        {"model": "os.system", "arguments": {"command": mark}},
        {"model": "subprocess.getoutput", "arguments": {"cmd": mark}},
        {"model": "jaxrec.atomic_files.write_text", "arguments": {"path": file, "text": ""}},
        {"model": "jaxrec.models.ease.jax.numpy.save", "arguments": {"file": file, "arr": 0}},
        {"model": "jaxrec.models.ease.sparse.save_npz", "arguments": {"file": file}},
        {"model": "jaxrec.models..os.system", "arguments": {"command": mark}},
        ease(regularization={"_target_": "os.system", "command": mark}),
        ease(regularization=[{"_target_": "os.system", "command": mark}]),
    ]


@pytest.mark.parametrize("which", range(8))
def test_targets_that_are_not_models_are_not_built(tmp_path, which):
    run = write(tmp_path, executed(tmp_path)[which])
    with pytest.raises(InputError, match="not loaded") as error:
        recommend.load(run)
    assert str(error.value).startswith(str(tmp_path / "model" / "model.json"))
    assert "\n" not in str(error.value)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("which", range(8))
def test_targets_that_are_not_models_are_not_built_from_a_run_of_0_1_0(tmp_path, which):
    stored = executed(tmp_path)[which]
    target = "jaxrec.models.ease.EASE" if stored["model"] == "ease" else stored["model"]
    meta = {"format": 1, "dtypes": {}, "strings": {}, "empty": []}
    meta["json"] = {"module": {"_target_": target, **stored["arguments"]}}
    (tmp_path / "model").mkdir()
    arrays = {
        "params/weights": np.eye(4, dtype=np.float32),
        "@meta": np.frombuffer(json.dumps(meta).encode(), np.uint8),
    }
    np.savez(tmp_path / "model" / "params.npz", **arrays)
    with pytest.raises(InputError, match=r"params\.npz .*not loaded|params\.npz: .*not loaded"):
        recommend.load(tmp_path)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("name", ["ancf", "ancf_history", "gmf", "sasrec", "softmax_dnn"])
def test_a_model_is_stored_by_a_name_of_conf_and_its_arguments(compose, name):
    """If two files of conf/model share a class, the name is that of the class, and arguments distinguish them."""
    node = compose(f"model={name}")["model"]
    sizes = {"n_users": 3, "n_items": 4} | ({} if "history_length" in node else {"history_length": 5})
    kept = stored_model.model_to_store(build(node, **sizes))
    assert kept["model"] == name.removesuffix("_history")
    given = {key: value for key, value in node.items() if key != "_target_"}
    assert {key: kept["arguments"][key] for key in given} == {
        key: tuple(value) if isinstance(value, list) else value for key, value in given.items()
    }
    assert not {"parent", "name"} & kept["arguments"].keys()
    assert "jaxrec" not in json.dumps(kept)


def test_a_user_defined_model(tmp_path):
    run = write(tmp_path, stored_model.model_to_store(Mine(4, 4)))
    assert json.loads((run / "model" / "model.json").read_text())["model"] == f"{Mine.__module__}.Mine"
    with pytest.raises(InputError, match=r"names the model .*Mine, which is not part of jaxrec.*model=MyModel"):
        recommend.load(run)
    assert isinstance(recommend.load(run, model=Mine).model, Mine)
    with pytest.raises(InputError, match=r"holds the model .*Mine, not EASE"):
        recommend.load(run, model=EASE)


def test_a_run_of_another_version(tmp_path):
    """The error is one line that names the file and the difference."""
    cases = {
        "field_of_later": write(tmp_path / "a", ease(field_of_later=1)),
        r"cannot be built from its arguments \(.*\): it was written by another version": write(
            tmp_path / "b", {"model": "ease", "arguments": {}}
        ),
        r"weights'\] of EASE has shape \(3, 3\), expected shape \(4, 4\)": write(
            tmp_path / "c", ease(), np.zeros((3, 3), np.float32)
        ),
        "has an unexpected format .*user_ids": write(tmp_path / "d", ease(), left_out=("user_ids",)),
        "has no model name": write(tmp_path / "e", {}),
        "names the model mf2, which": write(tmp_path / "f", ease("mf2")),
    }
    for printed, run in cases.items():
        with pytest.raises(InputError, match=printed) as error:
            recommend.load(run)
        assert str(error.value).startswith(str(run / "model" / "model.json"))
        assert "\n" not in str(error.value)


def test_a_configuration_builds_what_conf_names(tmp_path):
    """At any depth, and before anything in the file is used."""
    assert {"jaxrec.models.ease.EASE", "jaxrec.data.sources.files.files", "jaxrec.losses.bpr"} <= registered()
    run = write(tmp_path, ease())
    evil = {
        "data": {"_target_": "jaxrec.data.sources.files.files", "x": [{"_target_": "os.system", "command": "true"}]}
    }
    with pytest.raises(InputError, match=r"config\.yaml has _target_: os\.system, which conf/ does not name"):
        check_registered(evil, run / "config.yaml")
    for key in ("metrics", "test_metrics"):  # imported at first use
        with pytest.raises(InputError, match=r"has _target_: evil\.metric, which conf/ does not name"):
            check_registered({"eval": {key: ["ndcg", "evil.metric(k=1)"]}}, run / "config.yaml")
    (run / "config.yaml").write_text("data: {_target_: os.system, command: 'true'}\nsplit: {}\n")
    with pytest.raises(InputError, match=r"config\.yaml has _target_: os\.system"):
        Run.open(run)
    for text in ("- 1\n", "x: [\n", "data: 1\n"):
        (run / "config.yaml").write_text(text)
        with pytest.raises(InputError, match=r"config\.yaml") as error:
            Run.open(run)
        assert "\n" not in str(error.value)
