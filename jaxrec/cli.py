"""Command-line interface: composes conf/ and overrides, and calls the module of the command."""

import argparse
import contextlib
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from pathlib import Path

import hydra
import yaml
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from jax.errors import JaxRuntimeError
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException
from pydantic import NonNegativeInt, TypeAdapter

from jaxrec.arguments import check_value
from jaxrec.checkpoint import ADVICE
from jaxrec.command_line import command, override
from jaxrec.config import compose, explain, n_seeds, overwrites, plain
from jaxrec.config_path import check_config_path
from jaxrec.errors import InputError, first_line
from jaxrec.settings import CONF, register

OUT_OF_MEMORY = (
    "out of memory: decrease trainer.batch_size, model.embedding_dim, sweep.population, the number of seeds or "
    "workers, or the history length of the model"
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run `jaxrec COMMAND [GROUP=CHOICE] [KEY=VALUE] ...`; invalid input exits with code 2."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] in ("-h", "--help", "help"):
        print(_USAGE)
        return
    if words[0] in ("-V", "--version"):
        from jaxrec import __version__

        print(f"jaxrec {__version__}")
        return
    if (name := words[0]) not in COMMANDS:
        near = get_close_matches(name, COMMANDS, 1)
        print(
            f"error: jaxrec {name}: unknown command; "
            + (f"did you mean jaxrec {near[0]}? " if near else "")
            + f"Available: {', '.join(COMMANDS)}",
            file=sys.stderr,
        )
        sys.exit(2)
    sys.argv[1:] = _WORDS.get(name, list)(words[1:])
    config_name, work, _ = COMMANDS[name]
    if name == "train":
        # Clusters end jobs with SIGTERM, which is handled like Ctrl-C: the model trained so far is saved.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        if "cluster=true" in words:
            sys.exit(_on_cluster(words[1:]))
    _script(config_name, work)


def _on_cluster(words: list[str]) -> int:
    """Join the other processes of this run and train; only the first one writes files and prints. Return exit code."""
    from jaxrec import cluster

    def train(cfg: DictConfig) -> None:
        try:
            _train(cfg)
        except JaxRuntimeError:
            cluster.await_loss()
            raise

    def run() -> None:
        if clash := [word for word in words if word in ("--multirun", "-m") or word.startswith("seeds=")]:
            raise InputError(
                f"{clash[0]} has no effect with cluster=true, which trains one model: remove one of the two"
            )
        for number in (signal.SIGTERM, signal.SIGINT):  # processes cannot agree on where to stop; saved states remain
            signal.signal(number, signal.SIG_DFL)
        cluster.join()
        with tempfile.TemporaryDirectory() as own:
            if not cluster.is_first():
                sys.stdout = open(os.devnull, "w")  # noqa: SIM115
                sys.argv[1:] = [word for word in words if not word.startswith("hydra.run.dir=")]
                sys.argv.append(f"hydra.run.dir={own}/run")
            try:
                _script("config", train)
            except SystemExit as end:
                codes.append(int(end.code or 0))

    codes: list[int] = []
    try:
        code = _exit_code(run) or (codes or [0])[0]
    except Exception:
        traceback.print_exc()
        code = 1
    cluster.leave(code)
    return code


def _with_runs(arguments: list[str]) -> list[str]:
    """Run directories given as words (`jaxrec compare A B`) as an override."""
    words = [text for text in arguments if "=" not in text and not text.startswith("-")]
    others = [text for text in arguments if text not in words]
    return [*others, override("runs", words)] if words else others


def _with_target(arguments: list[str]) -> list[str]:
    """Run directory or study given as a word (`jaxrec verify RUN`) as an override."""
    return [text if "=" in text or text.startswith("-") else override("target", text) for text in arguments]


def _with_tuned_choices(arguments: list[str]) -> list[str]:
    """Choices that `sweep=NAME` implies (`model=NAME`), unless set, so that their settings can be overridden, too."""
    chosen = dict(text.split("=", 1) for text in arguments if "=" in text and not text.startswith("-"))
    name = chosen.get("sweep", "")
    if not {"-m", "--multirun"} & set(arguments) or not name or "experiment" in chosen:
        return arguments
    folders = [Path(folder) for folder in (_path_options(arguments).config_dir, CONF) if folder]
    file = next((path for folder in folders if (path := folder / "sweep" / f"{name}.yaml").is_file()), None)
    tunes = {} if file is None else yaml.safe_load(file.read_text()).get("tunes", {})
    first = {group: names if isinstance(names, str) else names[0] for group, names in tunes.items()}
    place = arguments.index(f"sweep={name}") + 1  # the parser wants overrides side by side
    implied = [override(group, choice) for group, choice in first.items() if group not in chosen]
    return [*arguments[:place], *implied, *arguments[place:]]


_WORDS = {"compare": _with_runs, "train": _with_tuned_choices, "verify": _with_target}


def _script(config_name: str, work: Callable[[DictConfig], None]) -> None:
    """Compose the configuration and run the command; invalid input prints one line to stderr and exits with code 2."""
    if config_name != "config" and {"-h", "--help"} & set(sys.argv):
        print(_help(config_name))
        return
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # makes Hydra raise, so that the error is printed here
    from jaxrec.console import show_warnings

    errors: list[InputError] = []
    started = False

    def guarded(cfg: DictConfig) -> None:
        nonlocal started
        started = True
        show_warnings()
        try:
            work(cfg)
        except InputError as error:  # not raised inside Hydra, which would print the overrides
            errors.append(error)

    def main() -> None:
        _check_config_path(sys.argv[1:])
        try:
            hydra.main(version_base="1.3", config_path=str(CONF), config_name=config_name)(guarded)()
        except OSError as error:  # Hydra creates the run directory before the command starts
            if started or isinstance(error, BrokenPipeError | HydraException):
                raise
            reason = error.strerror or error
            raise InputError(f"cannot write to {error.filename}: {reason}; set another hydra.run.dir") from error
        if errors:
            raise errors[0]

    sys.exit(_exit_code(main))


def _check_config_path(arguments: Sequence[str]) -> None:
    """Check the files of --config-path, e.g. of a run, before Hydra reads them; a --config-dir is trusted."""
    options = _path_options(arguments)
    if options.config_dir:
        register(Path(options.config_dir))
    if options.config_path:
        check_config_path(Path(options.config_path))


def _path_options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(add_help=False)  # abbreviates options as Hydra's does
    parser.add_argument("--config-path", "-cp")
    parser.add_argument("--config-dir", "-cd")
    return parser.parse_known_args(list(arguments))[0]


def _help(config_name: str) -> str:
    """Return the settings of a command with their comments, without the Hydra section."""
    text, _, _ = (CONF / f"{config_name}.yaml").read_text(encoding="utf-8").partition("\nhydra:")
    return "\n".join(line for line in text.splitlines() if "hydra/" not in line and line.strip() != "- _self_")


def _exit_code(main: Callable[[], None]) -> int:
    try:
        main()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except (HydraException, OmegaConfBaseException) as error:
        print(f"error: {explain(error)}", file=sys.stderr)
        return 2
    except MemoryError as error:
        print(f"error: {OUT_OF_MEMORY} ({error or 'host memory'})", file=sys.stderr)
        return 2
    except JaxRuntimeError as error:
        from jaxrec.backend import is_out_of_memory

        if not is_out_of_memory(error):
            raise
        print(f"error: {OUT_OF_MEMORY} ({first_line(error)})", file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader closed the pipe, as with `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes again on exit
        return 141
    except OSError as error:
        if error.errno not in ADVICE:
            raise
        print(f"error: {error.filename or 'a file'}: {ADVICE[error.errno]}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    return 0


def _train(cfg: DictConfig) -> None:
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

    root = Path(cfg.root)
    if cfg.study is None:
        return study.show_studies(study.list_studies(root))
    opened, directory = study.open_study(cfg.study, root, cfg.storage)
    if cfg.trial is None:
        return study.show(opened, directory, cfg.n)
    return print(study.command(opened, cfg.trial))


def _verify(cfg: DictConfig) -> None:
    from jaxrec.launch import verify
    from jaxrec.rundir import STUDY_FILE
    from jaxrec.sweep import study

    target = Path(str(cfg.target))
    if cfg.trial is None:
        found = verify.verify_run(target)
    else:
        check_value(TypeAdapter(NonNegativeInt), cfg.trial, "trial")
        name, root = str(cfg.target), Path(cfg.root)
        if (file := target / STUDY_FILE).is_file():
            name, root = file.read_text(encoding="utf-8").strip(), target
        opened, _ = study.open_study(name, root, cfg.storage)
        found = verify.verify_trial(opened, cfg.trial, compose)
    verify.show(found)
    if not found.is_equal:
        raise SystemExit(1)


def _compare(cfg: DictConfig) -> None:
    from jaxrec.checkpoint import write_text
    from jaxrec.compare import compare, verdicts
    from jaxrec.console import say, table

    tree = plain(cfg)
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
    case, repeats, out, peer, compare, command = (
        tree.pop(key) for key in ("case", "repeats", "out", "peer", "compare", "command")
    )
    compiled_for = {key: tree.pop(key) for key in ("target", "topology", "members")}
    cases.run(tree, case, repeats, Path(out), peer, compare, compiled_for, command)


def _explore(cfg: DictConfig) -> None:
    from jaxrec.explore import report

    tree, typed = plain(cfg), [o for o in HydraConfig.get().overrides.task if o.startswith(("data=", "data."))]
    if "quantity" in tree["data"] and not any(o.startswith("data.quantity=") for o in typed):
        tree["data"]["quantity"] = "raw"  # show quantities, not their logarithms
    report.run(tree, Path(tree.pop("out")), typed)


def _mine(cfg: DictConfig) -> None:
    from jaxrec.console import say
    from jaxrec.machine import use_all_cores
    from jaxrec.recommend import mining

    tree = plain(cfg)
    use_all_cores()
    counts = mining.mine(**tree)
    say(f"{tree['out']}: {counts['mined']:,} mined and {counts['history']:,} history rows")


def _serve(cfg: DictConfig) -> None:
    from jaxrec import settings
    from jaxrec.machine import use_all_cores

    tree = plain(cfg)
    settings.check({"limits": tree["limits"]})
    check_value(TypeAdapter(tuple[str, ...]), tree["hosts"], "hosts")
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
    use_all_cores()
    run.run(tree, Path(tree.pop("out")))


COMMANDS: dict[str, tuple[str, Callable[[DictConfig], None], str]] = {
    "train": ("config", _train, "train a model, a grid of models, or search (--multirun)"),
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

_USAGE = "\n".join(
    [
        "jaxrec: train, search, evaluate and serve recommender models.",
        "",
        "Usage: jaxrec COMMAND [GROUP=CHOICE] [KEY=VALUE] ...",
        "       jaxrec COMMAND --help",
        "",
        *(f"  {name:<11}{text}" for name, (_, _, text) in COMMANDS.items()),
        "",
        "First steps: jaxrec train --multirun sweep=mf",
    ]
)
