"""The command line: overrides, help, and errors."""

import os
import re
import subprocess
import sys

import pytest
import yaml
from omegaconf import OmegaConf

from jaxrec import cli, settings
from jaxrec.cli.commands import COMMANDS
from jaxrec.cli.exit_codes import exit_code_of
from jaxrec.settings.tree import flat
from jaxrec.sweep.effects import check_effects
from tests.experiment_settings import EXPERIMENTS, FILE, settings_of
from tests.paths import ROOT
from tests.slow import some_slow


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trainer.epcohs=3"], "trainer.epcohs is unknown here; available: epochs, batch_size, patience"),
        (["model=ease", "optimizer.learning_rate=0.1"], "optimizer.learning_rate is unknown here; this choice has no"),
        (["model=eas"], "model=eas: unknown choice; did you mean model=ease? Available: ancf, ancf_history"),
        (["trainer.epochs=-1"], "trainer.epochs=-1: must be greater than 0"),
        (["overwrite=maybe"], "overwrite='maybe': must be a valid boolean"),
        (["--multirun", "model=mf,ease", "overwrite=1"], "overwrite=1: must be a valid boolean"),
        (["--multirun", "model=mf,ease", "optimizer.learning_rate=interval(0.1,0.2)"], "write choice(a,b)"),
        pytest.param(
            ["--multirun", "optimizer.learning_rate=interval(0.2,0.1)"],
            "optimizer.learning_rate",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            ["--multirun", "optimizer.learning_rate=tag(log,interval(0,0.1))"],
            "optimizer.learning_rate",
            marks=pytest.mark.slow,
        ),
        pytest.param(["--multirun", "trainer.epcohs=choice(1,2)"], "epcohs", marks=pytest.mark.slow),
        (["--multirun", "sweep=mf", "sweep.sampler=magic"], "sweep.sampler='magic': must be 'auto', 'tpe', 'random'"),
        (["split=given"], "data.train"),
        (["model=ease", "loss=mse"], "EASE is trained without a loss"),
        (["sweep=ease"], "sweep=ease requires --multirun: "),
        (["hydra.sweep.dir=s"], "hydra.sweep.dir=s has no effect without --multirun"),
        (["--multirun", "sweep.n_trials=3"], "sweep.n_trials=3 has no effect without a search space"),
        (["--multirun", "sweep=ease", "model=mf"], "sweep=ease tunes model=ease, which contradicts model=mf: set"),
        pytest.param(
            ["--multirun", "sweep=sasrec", "model.history_length=-1"],
            "model.history_length=-1: must be greater than 0",
            marks=pytest.mark.slow,
        ),
        (
            ["--multirun", "model.embedding_dim=choice(4,8)", "data.seed=choice(1,2)", "data=synthetic"],
            "data.seed has no",
        ),
        pytest.param(
            ["--multirun", "model=mf,ease", "trainer.epcohs=5"],
            "trainer.epcohs is unknown here",
            marks=pytest.mark.slow,
        ),
        (["--multirun", "model=mf,ease", "hydra.sweep.subdir=x"], "hydra.sweep.subdir=x has no effect"),
    ],
)
def test_an_error_is_one_line_and_leaves_no_files(command, arguments, message, tmp_path):
    done = command("train", *arguments)
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.rglob("metrics.json"))


def test_cfg_shows_the_settings_and_leaves_no_files(command, tmp_path):
    shown = command("train", "--cfg", "job").stdout
    assert OmegaConf.create(shown).trainer.epochs == 100
    assert not list(tmp_path.iterdir())


def told(monkeypatch, capsys, *words: str) -> str:
    """Return the output of a command."""
    monkeypatch.setattr(sys, "argv", ["jaxrec"])
    with pytest.raises(SystemExit) as ended:
        cli.main(words)
    assert ended.value.code == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("name", COMMANDS)
def test_help_is_every_setting_with_its_comment(name, monkeypatch, capsys):
    text = told(monkeypatch, capsys, name, "--help")
    file = (ROOT / "conf" / f"{COMMANDS[name][0]}.yaml").read_text()
    assert text.startswith(f"jaxrec {name}")
    assert all(f"\n{key}:" in text for key in OmegaConf.create(file) if key not in ("hydra", "defaults"))
    words = " ".join(text.replace("#", " ").split())
    for comment in re.findall(r"^\w+: \S+ +# (.*)$", file, re.MULTILINE):
        assert " ".join(comment.split()) in words, comment
    assert "\nhydra:" not in text


def test_help_shows_the_settings_of_the_choices_on_the_line(monkeypatch, capsys, tmp_path):
    (tmp_path / "model").mkdir()
    own = "# My model.\ndefaults: [sasrec]\nmodel:\n  n_blocks: 3   # more\n                #   than two\n"
    (tmp_path / "model" / "mine.yaml").write_text("# @package _global_\n" + own)
    text = told(monkeypatch, capsys, "train", "model=mine", "--config-dir", str(tmp_path), "seed=7", "-h")
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert "# My model." in lines
    assert "n_blocks: 3 # more than two" in lines
    assert "learning_rate: 0.001 # traced" in lines  # that of sasrec, not of conf/optimizer
    assert "n_heads: 1 # must divide embedding_dim" in lines
    assert "seed: 7 # of initial parameters, example order and negatives; the split has its own" in lines
    (models,) = [line for line in lines if line.startswith("model ")]
    assert "leave_one_out*" in text
    assert "mine*" in text
    assert "bert4rec" in models
    assert "negatives_of" not in text
    several = told(monkeypatch, capsys, "train", "-m", "model=mf,ease", "trainer.epochs=range(2,5)", "seed=7", "--help")
    assert "epochs: 100" in several
    assert "seed: 7" in several


def test_jaxrec_alone_lists_its_commands_and_an_unknown_one_is_corrected(capsys):
    cli.main([])
    usage = capsys.readouterr().out
    assert all(f"\n  {name} " in usage for name in COMMANDS)
    with pytest.raises(SystemExit) as ended:
        cli.main(["trian"])
    assert ended.value.code == 2
    assert "did you mean jaxrec train?" in capsys.readouterr().err


def test_every_command_has_a_script():
    assert {path.stem for path in (ROOT / "scripts").glob("*.py")} == set(COMMANDS)


@pytest.mark.whole
def test_a_script_runs_the_code_of_its_own_checkout_and_has_help(tmp_path):
    other = tmp_path / "site" / "jaxrec"
    other.mkdir(parents=True)
    (other / "__init__.py").write_text("raise SystemExit('another jaxrec')")
    environment = {**os.environ, "PYTHONPATH": str(other.parent)}
    script = [sys.executable, str(ROOT / "scripts" / "train.py"), "--help"]
    done = subprocess.run(script, capture_output=True, text=True, env=environment, cwd=tmp_path, check=False)
    assert "Usage: jaxrec train" in done.stdout, done.stderr
    assert "model       ancf ancf_history bert4rec dlrm ease" in done.stdout


def test_a_closed_pipe_is_not_an_error(monkeypatch):
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "w") as pipe:
        monkeypatch.setattr(sys, "stdout", pipe)
        assert exit_code_of(lambda: print("more", flush=True)) == 141


@pytest.mark.slow
def test_a_process_with_a_closed_pipe_ends_silently():
    command = [sys.executable, str(ROOT / "scripts" / "train.py"), "--help"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


@pytest.mark.parametrize("name", sorted(path.stem for path in (ROOT / "conf" / "sweep").glob("*.yaml")))
@pytest.mark.slow
def test_every_search_space_has_settings_of_its_model(compose, name):
    tunes = compose(f"sweep={name}")["sweep"]["tunes"]
    assert tunes or name in ("none", "compare")
    firsts = [f"{group}={allowed if isinstance(allowed, str) else allowed[0]}" for group, allowed in tunes.items()]
    tree = compose(f"sweep={name}", *firsts)
    settings.check(tree)
    for key in tree["sweep"]["space"]:
        assert key in settings.flat(tree)
        check_effects(tree, key)


@pytest.mark.parametrize(
    ("overrides", "ratio"),
    [
        ("model=mlp", 8),
        ("model=ancf", 8),
        ("model=ancf_history", 4),
        ("model=mlp negatives=batch_shared", 64),  # the sampler's own default
        ("model=ancf negatives=dynamic", 4),
        ("model=mlp loss=bsl", 512),  # the default of the loss
        ("model=mlp loss=softmax", None),
        ("model=mlp negatives.ratio=3", 3),
        ("model=mlp negatives=mixed negatives.ratio=3", 3),
    ],
)
def test_the_negatives_of_a_model_are_those_of_its_default_sampler(compose, overrides, ratio):
    assert settings.get(compose(*overrides.split()), "negatives.ratio") == ratio


@pytest.mark.parametrize("name", some_slow(EXPERIMENTS, *EXPERIMENTS[::2]))
def test_every_experiment_is_a_run_with_the_settings_of_its_results(compose, name):
    tree, own = settings_of(name, compose)
    settings.check(tree)
    own, measured = flat(own), flat(yaml.safe_load(FILE.read_text())[name])
    changed = {key: own.get(key) for key, value in measured.items() if own.get(key) != value}
    assert not changed, f"pin the earlier values in conf/experiment/{name}.yaml, or measure it again: {changed}"


def test_an_experiment_overrides_the_defaults(compose):
    assert compose("experiment=ml1m_holdout_mf")["refit"] is True
    assert compose("experiment=ml1m_holdout_mf", "refit=false")["refit"] is False


@pytest.mark.parametrize(
    "name", [path.stem for path in settings.CONF.glob("sweep/*.yaml") if (settings.CONF / "model" / path.name).exists()]
)
@pytest.mark.slow
def test_the_defaults_of_a_model_lie_within_its_search_space(name, compose):
    tree = compose(f"model={name}")
    for key, dimension in OmegaConf.load(settings.CONF / "sweep" / f"{name}.yaml").space.items():
        default = settings.get(tree, key)
        if default == 0:  # a penalty of 0 is not on a logarithmic scale
            continue
        if "choices" in dimension:
            assert default in dimension["choices"], key
        else:
            assert dimension["low"] <= default <= dimension["high"], key


def test_a_run_directory_cannot_execute_code(command, tmp_path):
    """Neither its targets nor Hydra callbacks are called; see `settings.check_registered`."""
    mark = tmp_path / "executed"
    files = {
        "data": f"data: {{_target_: os.system, command: 'touch {mark}'}}\n",
        "callback": f"hydra: {{callbacks: {{x: {{_target_: os.system, command: 'touch {mark}'}}}}}}\n",
    }
    for name, text in files.items():
        run = tmp_path / name
        run.mkdir()
        (run / "config.yaml").write_text(text)
        flag = ["--config-path", str(run)] if name == "data" else [f"-cp={run}"]
        done = command("train", *flag, "--config-name", "config")
        assert done.returncode == 2
        assert done.stderr.startswith(f"error: {run / 'config.yaml'} has _target_: os.system, which conf/ does not")
        assert done.stderr.count("\n") == 1
    assert not mark.exists()
