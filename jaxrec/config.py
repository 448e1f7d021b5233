"""Where Hydra ends: command line and conf/ → plain trees of dicts, which `jaxrec.launch` runs.

No other module imports hydra or omegaconf.
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
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, Override, RangeSweep
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
        print(f"error: {_explain(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:  # whoever read our output has seen enough, as with `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes once more as it ends
        return 141
    return 0


def _explain(error: BaseException) -> str:
    """Hydra's message; for an unknown key also which keys there are."""
    cause: Any = error.__cause__ or error
    node = getattr(cause, "parent_node", None)
    if "is not in struct" in str(cause) and isinstance(node, DictConfig):
        keys = ", ".join(key for key in map(str, node) if not key.startswith("_"))
        return f"{cause.full_key} is unknown here; {f'there are {keys}' if keys else 'this choice has no settings'}"
    return "\n".join(line for line in str(error).splitlines() if line.strip())


def _train(cfg: DictConfig) -> None:
    from jaxrec import launch

    launch.run(plain(cfg), Path(HydraConfig.get().runtime.output_dir))


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

    tree = plain(cfg)
    if "quantity" in tree["data"] and not any(o.startswith("data.quantity=") for o in HydraConfig.get().overrides.task):
        tree["data"]["quantity"] = "raw"  # people want to see pieces, not their logarithms
    report.run(tree, Path(tree.pop("out")))


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


def multirun(hydra_context: Any, config: DictConfig, arguments: Sequence[str]) -> Any:
    """What --multirun does: a search if there is a space (from conf/sweep or typed), else every combination once."""
    from jaxrec import launch

    overrides = OverridesParser.create(config_loader=hydra_context.config_loader).parse_overrides(list(arguments))
    typed = {o.key_or_group: _dimension(o) for o in overrides if _is_dimension(o)}
    lists = [o for o in overrides if o.is_sweep_override() and not _is_dimension(o)]
    fixed = [str(o.input_line) for o in overrides if not o.is_sweep_override()]

    def compose(more: Sequence[str]) -> Tree:
        cfg = hydra_context.config_loader.load_sweep_config(config, [*fixed, *more])
        return plain(cfg)

    chosen = [o for o in config.hydra.overrides.hydra if str(o).startswith("hydra.sweep.dir=")]
    directory = Path(config.hydra.sweep.dir) if chosen else None
    tree = compose([])
    space = {**tree["sweep"]["space"], **typed}
    if space and lists:
        raise InputError(
            f"{lists[0].input_line} asks for every combination, {next(iter(space))} for a search: write "
            "choice(a,b) to search over a and b too"
        )
    if space:
        return launch.sweep(tree, space, compose, fixed, directory)
    combinations: list[list[str]] = [[]]
    for override in lists:
        key = override.get_key_element()
        values = [f"{key}={value}" for value in map(str, override.sweep_string_iterator())]
        combinations = [[*chosen, value] for chosen in combinations for value in values]
    return launch.grid([(compose(chosen), chosen) for chosen in combinations], directory)


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


def _is_dimension(override: Override) -> bool:
    """`choice(…)`, `interval(…)`, `range(…)`; a plain `a,b` is Hydra's own list of combinations."""
    value = override.value()
    return isinstance(value, IntervalSweep | RangeSweep) or (isinstance(value, ChoiceSweep) and not value.simple_form)


def _dimension(override: Override) -> dict[str, Any]:
    """A typed dimension in the words of conf/sweep; `range(1,9)` ends before 9, as Python's and Hydra's does."""
    value = override.value()
    match value:
        case ChoiceSweep():
            return {"choices": [getattr(item, "text", item) for item in value.list or []]}
        case RangeSweep(start=start, stop=stop, step=step):
            if start is None or stop is None or step is None or step <= 0 or stop <= start:
                raise InputError(f"{override.input_line}: range needs a start below its stop and a step above 0")
            if all(isinstance(number, int) for number in (start, stop, step)):
                return {"low": start, "high": start + (stop - 1 - start) // step * step, "integer": True, "step": step}
            return {"low": start, "high": stop - step, "step": step}
        case IntervalSweep(start=start, end=end, tags=tags):
            integer = {type(start), type(end)} == {int}  # int(interval(1, 8)); without int( ) Hydra makes them floats
            return {"low": start, "high": end, "log": "log" in tags, "integer": integer}
    raise InputError(f"{override.input_line}: not a search space")
