"""Where Hydra ends: command line and conf/ → plain trees of dicts, which `jaxrec.launch` runs.

Only `jaxrec.multirun`, beside this one, imports hydra and omegaconf too.
"""

import argparse
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import hydra
import yaml
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from jaxrec.errors import InputError
from jaxrec.settings import CONF, Tree, check_registered


def train() -> None:
    """scripts/train.py: one run; with --multirun a grid or a search."""
    # What ends a job of a cluster says so first: what was trained until then is kept, as with Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    _script("config", _train)


def study() -> None:
    """scripts/study.py: what sweeps there are, or how one stands."""
    _script("study", _study)


def benchmark() -> None:
    """scripts/benchmark.py: times a case."""
    _script("benchmark", _benchmark)


def explore() -> None:
    """scripts/explore.py: what is in the data."""
    _script("explore", _explore)


def mine() -> None:
    """scripts/mine.py: negatives to a file."""
    _script("mine", _mine)


def serve() -> None:
    """scripts/serve.py: recommendations over HTTP."""
    _script("serve", _serve)


def recommend() -> None:
    """scripts/recommend.py: lists for users or histories."""
    _script("recommend", _recommend)


def export() -> None:
    """scripts/export.py: a run as one compiled artefact."""
    _script("export", _export)


def pipeline() -> None:
    """scripts/pipeline.py: candidates, scoring and re-ranking of a run."""
    _script("pipeline", _pipeline)


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
            if started or isinstance(error, BrokenPipeError):
                raise
            reason = error.strerror or error
            raise InputError(f"cannot write to {error.filename}: {reason}; choose another hydra.run.dir") from error
        if errors:
            raise errors[0]

    sys.exit(_told(main))


def _check_config_path(arguments: Sequence[str]) -> None:
    """Raises an InputError for a --config-path, such as a run's, with something to build that conf/ does not name.

    Before Hydra reads it, which would call what a file says of callbacks and launchers.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--config-path", "-cp")
    path = parser.parse_known_args(list(arguments))[0].config_path
    for file in sorted(Path(path).rglob("*.yaml")) if path else ():
        try:
            tree = yaml.safe_load(file.read_text(encoding="utf-8"))
        except (OSError, UnicodeError, yaml.YAMLError) as error:
            raise InputError(f"{file} cannot be read: {' '.join(str(error).split())}") from error
        check_registered(tree, file)


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


def explain(error: BaseException) -> str:
    """Hydra's message; for an unknown key also which keys there are."""
    node = getattr(error.__cause__ or error, "parent_node", None)
    if (key := unknown_key(error)) and isinstance(node, DictConfig):
        keys = ", ".join(key for key in map(str, node) if not key.startswith("_"))
        return f"{key} is unknown here; {f'there are {keys}' if keys else 'this choice has no settings'}"
    return "\n".join(line for line in str(error).splitlines() if line.strip())


def unknown_key(error: BaseException) -> str | None:
    """The key that an error of Hydra says there is none of; None for other errors."""
    cause: Any = error.__cause__ or error
    return str(cause.full_key) if "is not in struct" in str(cause) else None


def _train(cfg: DictConfig) -> None:
    from jaxrec import launch

    hydra_cfg = HydraConfig.get()
    for text in hydra_cfg.overrides.task:
        if text.lstrip("+").partition("=")[0].partition(".")[0] == "sweep" and text != "sweep=none":
            raise InputError(f"{text} searches only with --multirun: python scripts/train.py --multirun {text}")
    if placed := [text for text in hydra_cfg.overrides.hydra if text.startswith("hydra.sweep.")]:
        raise InputError(f"{placed[0]} has no effect without --multirun: write hydra.run.dir=DIR")
    tree = plain(cfg)
    overwrite = tree.pop("overwrite", False)
    launch.run(tree, Path(hydra_cfg.runtime.output_dir), overwrite)


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
    from jaxrec import launch
    from jaxrec.benchmark import cases

    launch.use_all_cores()
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
    from jaxrec import launch
    from jaxrec.console import say
    from jaxrec.recommend import mining

    tree = plain(cfg)
    launch.use_all_cores()
    counts = mining.mine(**tree)
    say(f"{counts['mined']:,} mined and {counts['history']:,} rows of history in {tree['out']}")


def _serve(cfg: DictConfig) -> None:
    from jaxrec import launch, settings

    tree = plain(cfg)
    settings.check({"limits": tree["limits"]})
    try:
        from jaxrec.serve import server
    except ModuleNotFoundError as error:
        raise InputError(f"serving needs {error.name}: pip install 'jaxrec[serve]'") from error
    launch.use_all_cores()
    server.run(str(tree["run"]), str(tree["host"]), tree["port"], settings.build(tree["limits"]))


def _recommend(cfg: DictConfig) -> None:
    from jaxrec import launch, settings
    from jaxrec.console import say, table

    tree = plain(cfg)
    launch.use_all_cores()
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
    from jaxrec import launch
    from jaxrec.pipeline import run

    tree = plain(cfg)
    launch.use_all_cores()
    run.run(tree, Path(tree.pop("out")))


def plain(cfg: DictConfig) -> Tree:
    """Resolved, without Hydra's own part; every value present; keys in order, lists as tuples."""
    cfg = OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key != "hydra"])
    if missing := OmegaConf.missing_keys(cfg):
        raise InputError(f"{', '.join(sorted(missing))} must be given")
    tree = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(tree, dict)
    return {str(key): _tuples(value) for key, value in tree.items()}


def _tuples(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _tuples(item) for key, item in value.items()}
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value
