"""The commands: each passes its settings to the module that does the work."""

import contextlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from pydantic import Field, NonNegativeInt, PositiveInt, TypeAdapter

from jaxrec.arguments import check_value
from jaxrec.command_line import command
from jaxrec.config import compose, n_seeds, overwrites, plain
from jaxrec.errors import InputError

Text = str | None
Name = str | int  # a folder or a study may be called 7, which Hydra reads as a number


def _check(tree: Mapping[str, Any], **kinds: Any) -> None:
    """Raise InputError for the first setting of a command that is not of its kind."""
    for key, kind in kinds.items():
        check_value(TypeAdapter(kind), tree[key], key)


def train(cfg: DictConfig) -> None:
    """Train a run, or replicas of it, or continue an interrupted one."""
    from jaxrec import launch

    hydra_cfg = HydraConfig.get()
    for text in hydra_cfg.overrides.task:
        if text.lstrip("+").partition("=")[0].partition(".")[0] == "sweep" and text != "sweep=none":
            raise InputError(f"{text} requires --multirun: {command('train', '--multirun', text)}")
    if sweep_options := [text for text in hydra_cfg.overrides.hydra if text.startswith("hydra.sweep.")]:
        raise InputError(f"{sweep_options[0]} has no effect without --multirun: use hydra.run.dir=DIR")
    output, seeds = Path(hydra_cfg.runtime.output_dir), n_seeds(cfg)
    if cfg.get("resume") is not None:
        if others := [text for text in hydra_cfg.overrides.task if not text.startswith(("resume=", "cluster="))]:
            raise InputError(f"{others[0]} has no effect with resume=DIR, which continues a run with its own settings")
        with contextlib.suppress(OSError):  # Hydra has created it
            output.rmdir()
        launch.resume(Path(str(cfg.resume)))
    elif seeds is None:
        launch.run(plain(cfg), output, overwrites(cfg))
    else:
        launch.run_seeds(plain(cfg), seeds, output, overwrites(cfg))


def _study(cfg: DictConfig) -> None:
    from jaxrec.sweep import study

    tree = plain(cfg)
    _check(tree, study=Name | None, trial=NonNegativeInt | None, root=Name, storage=Text, n=PositiveInt)
    root = Path(str(tree["root"]))
    if tree["study"] is None and tree["trial"] is not None:
        raise InputError(f"trial={tree['trial']} needs the name of its study: set study=NAME")
    if tree["study"] is None:
        return study.show_studies(study.list_studies(root))
    opened, directory = study.open_study(str(tree["study"]), root, tree["storage"])
    if tree["trial"] is None:
        return study.show(opened, directory, tree["n"])
    return print(study.command(opened, tree["trial"]))


def _verify(cfg: DictConfig) -> None:
    from jaxrec.launch import verify
    from jaxrec.rundir import STUDY_FILE
    from jaxrec.sweep import study

    _check(plain(cfg), target=Name, root=Name, storage=Text)
    target = Path(str(cfg.target))
    if cfg.trial is None:
        found = verify.verify_run(target)
    else:
        check_value(TypeAdapter(NonNegativeInt), cfg.trial, "trial")
        name, root = str(cfg.target), Path(str(cfg.root))
        if (file := target / STUDY_FILE).is_file():
            name, root = file.read_text(encoding="utf-8").strip(), target
        opened, _ = study.open_study(name, root, cfg.storage)
        found = verify.verify_trial(opened, cfg.trial, compose)
    verify.show(found)
    if not found.is_equal:
        raise SystemExit(1)


def _compare(cfg: DictConfig) -> None:
    from jaxrec.atomic_files import write_text
    from jaxrec.compare import compare, verdicts
    from jaxrec.console import say, table

    tree = plain(cfg)
    _check(tree, runs=tuple[Name, ...], metric=Text, out=Text)
    out = None if tree["out"] is None else Path(tree["out"])
    if out is not None and out.suffix not in (".html", ".csv"):
        raise InputError(f"out={out}: the suffix must be .html for a page or .csv for the table, e.g. out=compare.html")
    compared = compare([str(run) for run in tree["runs"]], tree["metric"])
    rows = compared.table
    essential = ["run", "seeds", "value", "sd", "difference", "p"]
    table(f"test {compared.metric}", rows, rows[essential], "out=compare.csv")
    for line in verdicts(compared.metric, rows):
        say(line)
    if rows["sd"].isna().any():
        say("note: to include differences between seeds, train with seeds=5 and compare those directories")
    if out is not None:
        write_text(out, compared.page() if out.suffix == ".html" else rows.to_csv(index=False))
        say(f"written: {out}")


def _benchmark(cfg: DictConfig) -> None:
    from jaxrec.benchmark import cases
    from jaxrec.machine import use_all_cores

    use_all_cores()
    tree = plain(cfg)
    _check(tree, case=Text, repeats=PositiveInt, out=Name, members=tuple[PositiveInt, ...])
    case, repeats, out, peer, compare, command = (
        tree.pop(key) for key in ("case", "repeats", "out", "peer", "compare", "command")
    )
    compiled_for = {key: tree.pop(key) for key in ("target", "topology", "members")}
    cases.run(tree, case, repeats, Path(str(out)), peer, compare, compiled_for, command)


def _explore(cfg: DictConfig) -> None:
    from jaxrec.explore import report

    tree = plain(cfg)
    _check(tree, out=Name)
    typed = [o for o in HydraConfig.get().overrides.task if o.startswith(("data=", "data."))]
    if "quantity" in tree["data"] and not any(o.startswith("data.quantity=") for o in typed):
        tree["data"]["quantity"] = "raw"  # show quantities, not their logarithms
    report.run(tree, Path(str(tree.pop("out"))), typed)


def _mine(cfg: DictConfig) -> None:
    from jaxrec import settings
    from jaxrec.console import say
    from jaxrec.machine import use_all_cores

    tree = plain(cfg)
    use_all_cores()
    counts = settings.call("jaxrec.recommend.mining.mine", tree)
    say(f"{tree['out']}: {counts['mined']:,} mined and {counts['history']:,} history rows")


def _serve(cfg: DictConfig) -> None:
    from jaxrec import settings
    from jaxrec.machine import use_all_cores

    tree = plain(cfg)
    settings.check({"limits": tree["limits"]})
    _check(tree, run=Name, host=str, port=Annotated[int, Field(ge=0, le=65535)], hosts=tuple[str, ...])
    try:
        from jaxrec.serve.server import run
    except ModuleNotFoundError as error:
        raise InputError(f"serving needs {error.name}: pip install 'jaxrec[serve]'") from error
    use_all_cores()
    run(str(tree["run"]), str(tree["host"]), tree["port"], tree["hosts"], settings.build(tree["limits"]))


def _recommend(cfg: DictConfig) -> None:
    from jaxrec import settings
    from jaxrec.console import say, table
    from jaxrec.machine import use_all_cores

    tree = plain(cfg)
    use_all_cores()
    rows, frame = settings.call("jaxrec.recommend.files.recommend", tree)
    if frame is None:
        say(f"{tree['out']}: {rows:,} rows")
        return
    table("", frame)
    if rows > len(frame):
        say(f"{rows - len(frame):,} more rows: set out=FILE to write all of them")


def _export(cfg: DictConfig) -> None:
    from jaxrec import settings
    from jaxrec.console import say

    for line in settings.call("jaxrec.recommend.export.export", plain(cfg)):
        say(line)


def _pipeline(cfg: DictConfig) -> None:
    from jaxrec.machine import use_all_cores
    from jaxrec.pipeline import run

    tree = plain(cfg)
    _check(tree, out=Name)
    use_all_cores()
    run.run(tree, Path(str(tree.pop("out"))))


COMMANDS: dict[str, tuple[str, Callable[[DictConfig], None], str]] = {
    "train": ("config", train, "train a model, a grid of models, or search (--multirun)"),
    "study": ("study", _study, "list searches, or show one"),
    "compare": ("compare", _compare, "compare finished runs over users and seeds"),
    "verify": ("verify", _verify, "train a run or a trial again and compare the metrics"),
    "explore": ("explore", _explore, "explore a dataset in an HTML report"),
    "recommend": ("recommend", _recommend, "recommend items to users or to histories"),
    "pipeline": ("pipeline", _pipeline, "run candidates, scoring and re-ranking, evaluated by stage"),
    "serve": ("serve", _serve, "serve recommendations over HTTP"),
    "export": ("export", _export, "write a compiled program that runs without jaxrec"),
    "mine": ("mine", _mine, "write hard negatives to a file"),
    "benchmark": ("benchmark", _benchmark, "time training, ranking, serving"),
}  # name → (file in conf/, function, help text)
