"""The `jaxrec` command: conf/ and what was typed → plain trees of dicts → the module that does the work."""

import argparse
import os
import signal
import sys
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from jaxrec.command_line import command
from jaxrec.config import explain, overwrites, plain
from jaxrec.errors import InputError
from jaxrec.settings import CONF, check_registered, read, register


def main(arguments: Sequence[str] | None = None) -> None:
    """The `jaxrec` command: `jaxrec COMMAND [GROUP=CHOICE] [KEY=VALUE] ...`; exits with 2 where the input is wrong."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if not given or given[0] in ("-h", "--help", "help"):
        print(_USAGE)
        return
    if given[0] in ("-V", "--version"):
        from jaxrec import __version__

        print(f"jaxrec {__version__}")
        return
    if (name := given[0]) not in COMMANDS:
        near = get_close_matches(name, COMMANDS, 1)
        print(
            f"error: jaxrec {name}: there is no such command; "
            + (f"did you mean jaxrec {near[0]}? " if near else "")
            + f"There are {', '.join(COMMANDS)}",
            file=sys.stderr,
        )
        sys.exit(2)
    sys.argv[1:] = given[1:]
    config_name, work, _ = COMMANDS[name]
    if name == "train":
        # A cluster announces the end of a job with SIGTERM: what was trained until then is kept, as after Ctrl-C.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    _script(config_name, work)


def _script(config_name: str, work: Callable[[DictConfig], None]) -> None:
    """Composes the configuration and does the work; bad input is one line on stderr and exit code 2."""
    if config_name != "config" and {"-h", "--help"} & set(sys.argv):
        print(_help(config_name))
        return
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # Hydra raises instead of printing, so that it is printed here
    errors: list[InputError] = []
    started = False

    def guarded(cfg: DictConfig) -> None:
        nonlocal started
        started = True
        try:
            work(cfg)
        except InputError as error:  # kept from Hydra, which would print the overrides above it
            errors.append(error)

    def main() -> None:
        _check_config_path(sys.argv[1:])
        try:
            hydra.main(version_base="1.3", config_path=str(CONF), config_name=config_name)(guarded)()
        except OSError as error:  # before the work starts Hydra makes the run directory and may write to it
            if started or isinstance(error, BrokenPipeError | HydraException):
                raise
            reason = error.strerror or error
            raise InputError(f"cannot write to {error.filename}: {reason}; choose another hydra.run.dir") from error
        if errors:
            raise errors[0]

    sys.exit(_told(main))


def _check_config_path(arguments: Sequence[str]) -> None:
    """Raises an InputError for a --config-path, such as a run's, with something to build that conf/ does not name.

    Before Hydra reads it, which would call what a file says of callbacks and launchers. A --config-dir is the user's
    own: what it names may be built.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--config-path", "-cp")
    parser.add_argument("--config-dir", "-cd")
    given = parser.parse_known_args(list(arguments))[0]
    if given.config_dir:
        register(Path(given.config_dir))
    for file in sorted(Path(given.config_path).rglob("*.yaml")) if given.config_path else ():
        check_registered(read(file), file)


def _help(config_name: str) -> str:
    """The settings with their comments, as the file has them, without what is for Hydra alone."""
    text, _, _ = (CONF / f"{config_name}.yaml").read_text(encoding="utf-8").partition("\nhydra:")
    return "\n".join(line for line in text.splitlines() if "hydra/" not in line and line.strip() != "- _self_")


def _told(main: Callable[[], None]) -> int:
    try:
        main()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except (HydraException, OmegaConfBaseException) as error:
        print(f"error: {explain(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:  # whoever read our output has seen enough, as with `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes once more as it ends
        return 141
    return 0


def _train(cfg: DictConfig) -> None:
    from jaxrec import launch

    hydra_cfg = HydraConfig.get()
    for text in hydra_cfg.overrides.task:
        if text.lstrip("+").partition("=")[0].partition(".")[0] == "sweep" and text != "sweep=none":
            raise InputError(f"{text} searches only with --multirun: {command('train', '--multirun', text)}")
    if placed := [text for text in hydra_cfg.overrides.hydra if text.startswith("hydra.sweep.")]:
        raise InputError(f"{placed[0]} has no effect without --multirun: write hydra.run.dir=DIR")
    launch.run(plain(cfg), Path(hydra_cfg.runtime.output_dir), overwrites(cfg))


def _study(cfg: DictConfig) -> None:
    from jaxrec.sweep import study

    root = Path(cfg.root)
    if cfg.study is None:
        return study.show_studies(study.list_studies(root))
    found = study.open_study(cfg.study, root, cfg.storage)
    if cfg.trial is None:
        return study.show(found, cfg.n)
    return print(study.command(found, cfg.trial))


def _benchmark(cfg: DictConfig) -> None:
    from jaxrec.benchmark import cases
    from jaxrec.machine import use_all_cores

    use_all_cores()
    tree = plain(cfg)
    what = [tree.pop(key) for key in ("case", "repeats", "out", "peer")]
    cases.run(tree, what[0], what[1], Path(what[2]), what[3])


def _explore(cfg: DictConfig) -> None:
    from jaxrec.explore import report

    tree, typed = plain(cfg), [o for o in HydraConfig.get().overrides.task if o.startswith(("data=", "data."))]
    if "quantity" in tree["data"] and not any(o.startswith("data.quantity=") for o in typed):
        tree["data"]["quantity"] = "raw"  # people want to see pieces, not their logarithms
    report.run(tree, Path(tree.pop("out")), typed)


def _mine(cfg: DictConfig) -> None:
    from jaxrec.console import say
    from jaxrec.machine import use_all_cores
    from jaxrec.recommend import mining

    tree = plain(cfg)
    use_all_cores()
    counts = mining.mine(**tree)
    say(f"{counts['mined']:,} mined and {counts['history']:,} rows of history in {tree['out']}")


def _serve(cfg: DictConfig) -> None:
    from jaxrec import settings
    from jaxrec.machine import use_all_cores

    tree = plain(cfg)
    settings.check({"limits": tree["limits"]})
    try:
        from jaxrec.serve import server
    except ModuleNotFoundError as error:
        raise InputError(f"serving needs {error.name}: pip install 'jaxrec[serve]'") from error
    use_all_cores()
    server.run(str(tree["run"]), str(tree["host"]), tree["port"], settings.build(tree["limits"]))


def _recommend(cfg: DictConfig) -> None:
    from jaxrec import settings
    from jaxrec.console import say, table
    from jaxrec.machine import use_all_cores

    tree = plain(cfg)
    use_all_cores()
    rows, frame = settings.call("jaxrec.recommend.files.recommend", tree)
    if frame is None:
        say(f"{rows:,} rows in {tree['out']}")
        return
    table("", frame)
    if rows > len(frame):
        say(f"and {rows - len(frame):,} rows more: out=FILE writes them all")


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
    "explore": ("explore", _explore, "describe a data set on one page"),
    "recommend": ("recommend", _recommend, "recommend items to users or to histories"),
    "pipeline": ("pipeline", _pipeline, "candidates, scoring and re-ranking, measured stage by stage"),
    "serve": ("serve", _serve, "serve recommendations over HTTP"),
    "export": ("export", _export, "write a compiled program that runs without jaxrec"),
    "mine": ("mine", _mine, "write hard negatives to a file"),
    "benchmark": ("benchmark", _benchmark, "time training, ranking, serving"),
}  # name → its file in conf/, what it does, one line of help

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
