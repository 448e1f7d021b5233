"""The examples of docs/extending.md, executed unchanged."""

import importlib.util
import json
import os
import re
import shlex
import shutil
import site
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from jaxrec import launch, recommend, settings
from jaxrec.cli.settings_folders import check_folders
from jaxrec.config import plain
from jaxrec.data.sources.synthetic import synthetic
from jaxrec.errors import InputError
from jaxrec.pipeline import run as pipeline_run
from jaxrec.sweep.effects import check_effects
from jaxrec.sweep.space import space_from_yaml
from tests.paths import ROOT

pytestmark = pytest.mark.whole

PAGE = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
COMMANDS = [shlex.split(line)[1:] for line in re.findall(r"^jaxrec .*$", PAGE, re.MULTILINE)]


def write_files(folder: Path) -> None:
    """Write all files of the page."""
    for name, text in re.findall(r"```\w+\n# (my_\S+)\n(.*?)```", PAGE, re.DOTALL):
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """Folder with all files of the page and plays.jsonl; its package can be imported, its settings are trusted."""
    folder = tmp_path_factory.mktemp("project")
    write_files(folder)
    made = synthetic(n_users=80, n_items=40, n_interactions=1600, n_clusters=4, seed=0)
    at = pd.Timestamp("2024-05-01") + pd.to_timedelta(np.arange(len(made)), unit="h")
    rows = pd.DataFrame({"listener": made.user_ids[made.user], "track": made.item_ids[made.item], "at": at})
    rows.to_json(folder / "plays.jsonl", orient="records", lines=True, date_format="iso")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        patch.setattr("jaxrec.settings.files._TRUSTED", [settings.CONF])
        settings.register(folder / "my_conf")
        yield folder
    settings.registered.cache_clear()


@pytest.fixture(scope="module")
def composed(project, compose):
    """`composed("config", "model=biased_dot", …)`: the settings of a command with --config-dir my_conf."""
    import hydra

    def tree(name: str, *overrides: str) -> dict:
        return plain(hydra.compose(name, [*overrides, f"hydra.searchpath=[file://{project / 'my_conf'}]"]))

    return tree


@pytest.fixture(scope="module")
def trained(project, composed):
    """Train a run with all parts of the page together."""
    parts = ("model=biased_dot", "loss=hinge", "negatives=current", "eval=mine", "split=latest", "data=plays")
    short = ("trainer.epochs=3", "trainer.batch_size=256", f"data.path={project / 'plays.jsonl'}")
    launch.run(composed("config", *parts, *short), project / "run")
    return project / "run"


def test_the_page_has_an_example_of_each_extension(project):
    files = {str(file.parent.relative_to(project)) for file in project.rglob("*.yaml")}
    assert files == {f"my_conf/{g}" for g in ("model", "loss", "negatives", "eval", "split", "data", "rerank", "sweep")}


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
@pytest.mark.slow
def test_each_command_is_accepted(composed, words):
    script, *overrides = [word for word in words if word not in ("--config-dir", "my_conf", "--multirun")]
    if script == "pipeline":
        steps = composed("pipeline", *overrides)["rerank"]
        settings.check({f"rerank.{name}": node for name, node in steps.items()})
        return
    if "sweep=biased_dot" in overrides:  # the space brings its model
        overrides.append("model=biased_dot")
    tree = composed("config", *overrides)
    settings.check(tree)
    for key in space_from_yaml(tree["sweep"]["space"]) if tree["sweep"]["space"] else ():
        assert key in settings.flat(tree)
        check_effects(tree, key)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["model=biased_dot", "model.embedding_dim=0"], "model.embedding_dim=0: must be greater than 0"),
        (["loss=hinge", "loss.loss.margin=-1"], "loss.loss.margin=-1: must be greater than 0"),
        (["negatives=current", "negatives.share=1.5"], "negatives.share=1.5: must be less than or equal to 1"),
        (["split=latest", "split.test_fraction=0.95"], "split.test_fraction=0.95 leave no training data"),
        (["split=latest", "data=files"], "this split needs times: set data.time_column to their column"),
        (["eval.metrics=['my_package.metric.hit_on_top(top=0)']"], "top=0: must be greater than 0"),
        (["eval.metrics=['my_package.metric.gone']"], "eval.metrics: my_package.metric.gone cannot be imported"),
        (["split._target_=my_package.split.latest"], r"split\.seed is unknown; .*: ~split\.seed removes it"),
    ],
)
def test_values_are_checked_before_data_is_read(composed, tmp_path, overrides, message):
    if not any(text.startswith("data=") for text in overrides):
        overrides = [*overrides, "data=plays"]
    tree = composed("config", *overrides, f"data.path={tmp_path / 'missing.jsonl'}")
    with pytest.raises(InputError, match=message):
        launch.run(tree, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_targets_named_without_a_file(composed, project):
    """Keys that the target does not have are dropped, as on the command line."""
    model = ["model=gmf", "model._target_=my_package.model.BiasedDot", "~model.regularization", "~model.init_std"]
    settings.check(composed("config", *model, "split._target_=my_package.split.latest", "~split.seed"))


def test_all_parts_make_a_run(trained):
    metrics = json.loads((trained / "metrics.json").read_text())
    assert [key for key in metrics["test"] if key.endswith("@5")] == [
        "ndcg@5",
        "my_package.metric.hit_on_top@5",
        "my_package.metric.most_shown@5",
    ]
    assert metrics["popularity"]["my_package.metric.most_shown@10"] > metrics["test"]["my_package.metric.most_shown@10"]
    per_user = pd.read_parquet(trained / "per_user.parquet")
    assert set(per_user["my_package.metric.hit_on_top@5"]) <= {0.0, 1.0}


@pytest.mark.slow
def test_a_run_with_user_defined_parts_is_loaded_and_reranked(trained, composed, tmp_path):
    model = recommend.load(trained)
    assert len(model.recommend(model.user_ids[:2], k=3)) == 6
    tree = composed(
        "pipeline", f"run={trained}", "rerank=unpopular", "rerank.unpopular.strength=100", "candidates.n=20", "k=5"
    )
    tree.pop("out")
    stages = pipeline_run.run(tree, tmp_path / "pipeline")
    novelty = [measured.means()["novelty@5"] for measured in stages.values()]
    assert novelty[-1] > novelty[0]


def test_user_defined_parts_of_a_run_are_loaded_only_from_trusted_folders(trained, monkeypatch):
    file = trained / "config.yaml"
    settings.check_registered(settings.read(file), file)
    monkeypatch.setattr("jaxrec.settings.files._TRUSTED", [settings.CONF])
    settings.registered.cache_clear()
    with pytest.raises(InputError, match=r"which conf/ does not name.* --config-dir FOLDER"):
        settings.check_registered(settings.read(file), file)
    with pytest.raises(InputError, match=r"my_package\.metric\.hit_on_top, which conf/ does not name"):
        settings.check_registered({"eval": {"metrics": ["ndcg", "my_package.metric.hit_on_top(top=2)"]}}, file)
    monkeypatch.undo()
    settings.registered.cache_clear()


def test_config_dir_trusts_its_folder(project, monkeypatch):
    monkeypatch.setattr("jaxrec.settings.files._TRUSTED", [settings.CONF])
    settings.registered.cache_clear()
    check_folders(["model=biased_dot", "--config-dir", str(project / "my_conf")])
    assert "my_package.model.BiasedDot" in settings.registered("model")
    with pytest.raises(InputError, match="is not a folder"):
        check_folders([f"--config-dir={project / 'nowhere'}"])
    monkeypatch.undo()
    settings.registered.cache_clear()


PYPROJECT = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "my-package"
version = "1.0"
dependencies = ["jaxrec"]

[tool.hatch.build.targets.wheel]
packages = ["my_package"]
"""


def environment(folder: Path) -> Path:
    """Create a virtual environment that sees this checkout and the packages of this one; return its interpreter."""
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    paths = [str(ROOT), *site.getsitepackages(), site.getusersitepackages()]
    (packages(folder) / "shared.pth").write_text("\n".join(paths))
    return folder / ("Scripts" if os.name == "nt" else "bin") / "python"


def packages(environment: Path) -> Path:
    return next(environment.glob("**/site-packages"))


def install(project: Path, environment: Path, python: Path) -> None:
    """Install a project without the network; without its build backend, copy its package."""
    if importlib.util.find_spec("hatchling") is None:
        shutil.copytree(project / "my_package", packages(environment) / "my_package")
        return
    options = ["--quiet", "--no-index", "--no-build-isolation", "--no-deps"]
    subprocess.run([python, "-m", "pip", "install", *options, str(project)], check=True)


@pytest.mark.slow
def test_an_installed_package_trains_and_searches(tmp_path):
    project, fresh, empty = tmp_path / "project", tmp_path / "environment", tmp_path / "empty"
    write_files(project)
    (project / "pyproject.toml").write_text(PYPROJECT)
    python = environment(fresh)
    install(project, fresh, python)
    shutil.rmtree(project / "my_package")  # only the installed copy remains
    empty.mkdir()

    def jaxrec(*words: str) -> None:
        sizes = ("data.n_users=60", "data.n_items=30", "data.n_interactions=900", "data.n_clusters=3")
        short = ("data=synthetic", *sizes, "trainer.epochs=2", "trainer.batch_size=256")
        line = [python, "-m", "jaxrec", "train", "--config-dir", str(project / "my_conf"), *words, *short]
        alone = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        done = subprocess.run(line, cwd=empty, env=alone, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    jaxrec("model=biased_dot", "hydra.run.dir=run")
    jaxrec("--multirun", "sweep=biased_dot", "sweep.n_trials=2", "sweep.population=2", "hydra.sweep.dir=search")
    assert {path.name for path in empty.iterdir()} == {"run", "search"}
    for directory in (empty / "run", empty / "search" / "best"):
        assert settings.read(directory / "config.yaml")["model"]["_target_"] == "my_package.model.BiasedDot"
        assert "ndcg@10" in json.loads((directory / "metrics.json").read_text())["test"]
