"""--multirun: a comparison if there are models, a search if there is a search space, else a grid."""

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.types import HydraContext, RunMode
from omegaconf import DictConfig, OmegaConf

from jaxrec import command_line
from jaxrec.config import explain, n_seeds, overwrites, plain, unknown_key
from jaxrec.console import say, show_warnings
from jaxrec.dimensions import Dimension, dimension, is_dimension
from jaxrec.errors import InputError
from jaxrec.settings import CONF, Tree

if TYPE_CHECKING:
    from jaxrec.launch import Contender, Launcher, WorkerProcess

LAUNCHER = ("hydra/launcher", "hydra.launcher")

# Hydra settings that are not used here, and what to write instead.
NOT_USED = {
    "hydra.sweep.subdir": "omit it: the runs of a grid are in 0, 1, ..., the winner of a search in best",
    "hydra.run.dir": "use hydra.sweep.dir=DIR",
}


def multirun(hydra_context: HydraContext, config: DictConfig, arguments: Sequence[str]) -> object:
    """Compare models, search a space (of conf/sweep or the command line), or train every combination once."""
    from jaxrec import launch

    show_warnings()
    hydra_overrides = [str(o) for o in config.hydra.overrides.hydra]
    for text in hydra_overrides:
        if (key := text.lstrip("+~").split("=", 1)[0]) in NOT_USED:
            raise InputError(f"{text} has no effect with --multirun: {NOT_USED[key]}")
    overrides = OverridesParser.create(config_loader=hydra_context.config_loader).parse_overrides(list(arguments))
    typed = {o.key_or_group: dimension(o) for o in overrides if is_dimension(o)}
    lists = [o for o in overrides if o.is_sweep_override() and not is_dimension(o)]
    fixed = [o for o in overrides if not o.is_sweep_override()]
    if several := [o.input_line for o in lists if _group(o) == "sweep"]:
        raise InputError(f"{several[0]}: only one search at a time; run one command per search")

    def load(texts: Sequence[str]) -> DictConfig:
        return hydra_context.config_loader.load_sweep_config(config, list(texts))

    lines = [str(o.input_line) for o in fixed]
    cfg = load(lines)
    tree, overwrite, seeds = plain(cfg), overwrites(cfg), n_seeds(cfg)
    has_directory = any(text.startswith("hydra.sweep.dir=") for text in hydra_overrides)
    directory = Path(config.hydra.sweep.dir) if has_directory else None
    space = {**tree["sweep"]["space"], **typed}
    if wrong := [o.input_line for o in (*lists, *overrides) if o.key_or_group == "seeds" and o.is_sweep_override()]:
        raise InputError(f"{wrong[0]}: use one number of seeds for all runs, e.g. seeds=3")
    if seeds is not None and space and not tree["sweep"]["models"]:
        raise InputError(
            f"seeds={seeds} has no effect on a search: omit it, then train the best trial with seeds={seeds}"
        )
    if wrong := [o.input_line for o in lists if o.key_or_group == "seed" and seeds is not None]:
        raise InputError(f"{wrong[0]} and seeds={seeds} both set the seeds: use one of them")
    if space and lists:
        raise InputError(
            f"{lists[0].input_line} is a grid, but {next(iter(space))} is a search dimension: write "
            "choice(a,b) to search over a and b"
        )
    models, workers = tree["sweep"]["models"], tree["sweep"]["workers"]
    launcher_options = [text for text in hydra_overrides if text.lstrip("+~").startswith(LAUNCHER)]
    if launcher_options and workers == 1:
        raise InputError(f"{launcher_options[0]} has no effect without several workers of a search: sweep.workers=4")
    if models:
        if workers != 1:
            raise InputError(
                f"sweep.workers={workers} has no effect on a comparison, whose searches run one after another: omit it"
            )
        if space or lists:
            line = next(o.input_line for o in overrides if o.is_sweep_override())
            raise InputError(
                f"{line}: sweep={cfg.hydra.runtime.choices.sweep} searches the space of every model: omit it"
            )
        contenders = _contenders(hydra_context, load, cfg, models, fixed)
        return launch.compare_models(contenders, tree["sweep"], seeds, directory, overwrite)
    if space:
        lines = [*_implied_choices(cfg, tree["sweep"].get("tunes", {}), fixed, typed), *lines]

        def compose(more: Sequence[str]) -> Tree:
            return plain(load([*lines, *more]))

        launcher = launch.HERE if workers == 1 else _launcher(hydra_context, config)
        return launch.sweep(compose([]), space, compose, lines, directory, overwrite, launcher)
    if settings_of_search := [o.input_line for o in fixed if _group(o) == "sweep" and o.value() != "none"]:
        raise InputError(
            f"{settings_of_search[0]} has no effect without a search space: add sweep=NAME or a dimension, e.g. "
            "'model.embedding_dim=choice(16,32)'"
        )
    combinations: list[list[str]] = [[]]
    for override in lists:
        key = override.get_key_element()
        values = [f"{key}={value}" for value in map(str, override.sweep_string_iterator())]
        combinations = [[*combination, value] for combination in combinations for value in values]
    trees = [(each.tree, each.varied) for each in _applicable(load, [str(o.input_line) for o in fixed], combinations)]
    return launch.grid(trees if seeds is None else _with_seeds(trees, seeds), directory, overwrite)


def _launcher(hydra_context: HydraContext, config: DictConfig) -> "Launcher":
    """Return what starts the workers of a search: the chosen launcher of Hydra, or none for Hydra's default."""
    from jaxrec import launch

    name = str(config.hydra.runtime.choices["hydra/launcher"])
    if name == "basic":
        return launch.HERE

    def start(workers: "Sequence[WorkerProcess]") -> list[int]:
        # Composed without the other overrides, which may hold the password of a storage: jobs are written to files.
        typed = [str(text) for text in config.hydra.overrides.hydra]
        folder = command_line.override("hydra.sweep.dir", str(workers[0].log.parent))
        if name == "joblib" and not any(text.startswith("hydra.launcher.n_jobs=") for text in typed):
            typed.append(f"hydra.launcher.n_jobs={len(workers)}")
        own = hydra_context.config_loader.load_configuration(
            config_name=config.hydra.job.config_name,
            overrides=[*typed, folder, "hydra.sweep.subdir=."],
            run_mode=RunMode.MULTIRUN,
        )
        HydraConfig.instance().set_config(own)
        job = functools.partial(_job, tuple(workers))
        launcher = Plugins.instance().instantiate_launcher(hydra_context, job, own)
        return [done.return_value for done in launcher.launch([[] for _ in workers], 0)]

    return launch.Launcher(start, is_here=name in ("joblib", "submitit_local"))


def _job(workers: "Sequence[WorkerProcess]", cfg: DictConfig) -> int:
    """Run the worker of a job of a launcher."""
    return workers[HydraConfig.get().job.num].run()


def _with_seeds(combinations: Sequence[tuple[Tree, list[str]]], seeds: int) -> list[tuple[Tree, list[str]]]:
    """Return every combination with each seed; those without random numbers once."""
    from jaxrec.settings import with_seeds

    return [
        (each, [*overrides, f"seed={each['seed']}"] if len(replicas) > 1 else overrides)
        for tree, overrides in combinations
        for replicas in [with_seeds(tree, seeds)]
        for each in replicas
    ]


def _group(override: Override) -> str:
    return str(override.key_or_group).partition(".")[0]


def _implied_choices(
    cfg: DictConfig, tunes: Mapping[str, str | Sequence[str]], fixed: Sequence[Override], typed: Mapping[str, Dimension]
) -> list[str]:
    """Return choices implied by a file of conf/sweep, e.g. `model=ease`, unless set otherwise.

    Raises:
        InputError: an override or an experiment contradicts them.
    """
    choices = cfg.hydra.runtime.choices
    brought = []
    for group, allowed in tunes.items():
        allowed = (allowed,) if isinstance(allowed, str) else allowed
        names = ",".join(f"{group}={name}" for name in allowed)
        by_hand = [str(o.input_line) for o in fixed if o.key_or_group == group]
        if group in typed:
            choices_typed = typed[group].get("choices")
            wrong = set(choices_typed if isinstance(choices_typed, list) else ()) - set(allowed)
            source = f"the search over {group}"
        else:
            wrong = {choices[group]} - set(allowed)
            source = by_hand[0] if by_hand else f"{group}={choices[group]} of experiment={choices.get('experiment')}"
            of_experiment = choices.get("experiment") is not None and choices[group] != _default(group)
            if wrong and not by_hand and not (group == "model" and of_experiment):
                brought.append(f"{group}={allowed[0]}")
                continue
        if wrong:
            others = f"set {names.replace(',', ' or ')}, or another sweep=NAME for {group}={min(map(str, wrong))}"
            raise InputError(f"sweep={choices.sweep} tunes {names}, which contradicts {source}: {others}")
    return brought


def _default(group: str) -> str:
    """Return the default choice of a group in conf/config.yaml."""
    defaults = OmegaConf.load(CONF / "config.yaml").defaults
    return next(str(entry[group]) for entry in defaults if isinstance(entry, DictConfig) and group in entry)


class Combination(NamedTuple):
    """A composed combination of a grid.

    Attributes:
        tree: its configuration
        varied: overrides in which it differs from others
        lines: all overrides, without those of settings that it does not have
    """

    tree: Tree
    varied: list[str]
    lines: list[str]


def _contenders(
    hydra_context: HydraContext,
    load: Callable[[Sequence[str]], DictConfig],
    cfg: DictConfig,
    models: Sequence[str],
    fixed: Sequence[Override],
) -> "list[Contender]":
    """Compose every model of a comparison, on the split of the command."""
    from jaxrec.launch import Contender

    options = {group: hydra_context.config_loader.get_group_options(group) for group in ("sweep", "model")}
    choices, typed = cfg.hydra.runtime.choices, {str(o.key_or_group): str(o.input_line) for o in fixed}
    comparison = f"sweep={choices.sweep}"
    if choices.get("experiment") is not None or "model" in typed:
        line = typed.get("model", f"experiment={choices.get('experiment')}")
        raise InputError(f"{line} sets one model, and {comparison} trains several: list them in sweep.models")
    if twice := [name for name in models if list(models).count(name) > 1]:
        raise InputError(f"sweep.models has {twice[0]} twice: remove one")
    combinations = []
    for name in models:
        tunes: Mapping[str, str | Sequence[str]] = {"model": name}
        if is_searched := name in options["sweep"] and name != "none":
            sweep = plain(load([f"sweep={name}"]))["sweep"]
            tunes = sweep["tunes"]
            if sweep["models"]:
                raise InputError(f"sweep.models: {name} is itself a comparison: list its models")
        elif name not in options["model"]:
            known = sorted({*options["sweep"], *options["model"]} - {"none", choices.sweep})
            raise InputError(f"sweep.models: there is no model {name}; available: {', '.join(known)}")
        if against := [line for key, line in typed.items() if key in tunes]:
            raise InputError(f"{against[0]} contradicts sweep.models, where {name} brings its own: omit it")
        brought = [f"{group}={each if isinstance(each, str) else each[0]}" for group, each in tunes.items()]
        combinations.append([*brought, *([f"sweep={name}"] if is_searched else []), f"split={choices.split}"])
    of_comparison = ("sweep", "sweep.models", "split")
    lines = [line for key, line in typed.items() if key not in of_comparison]
    composed = _applicable(load, lines, combinations)

    def composer(each: Combination) -> Callable[[Sequence[str]], Tree]:
        return lambda more: plain(load([*each.lines, *more]))

    return [
        Contender(name, each.tree, each.tree["sweep"]["space"], composer(each), each.lines)
        for name, each in zip(models, composed, strict=True)
    ]


def _applicable(
    load: Callable[[Sequence[str]], DictConfig], fixed: Sequence[str], combinations: list[list[str]]
) -> list[Combination]:
    """Compose every combination; settings that a combination does not have are dropped from it.

    Raises:
        InputError: no combination has the setting.
    """
    composed: list[Combination] = []
    left_out: dict[str, list[str]] = {}
    applied: set[str] = set()
    errors: dict[str, str] = {}
    for combination in combinations:
        always, varied = list(fixed), list(combination)
        while True:
            try:
                tree = plain(load([*always, *varied]))
                break
            except HydraException as error:
                key = unknown_key(error)
                gone = [text for text in (*always, *varied) if key and text.split("=", 1)[0] == key]
                if not gone or len(combinations) == 1:
                    raise
                errors[key or ""] = explain(error)
                left_out.setdefault(gone[0] if gone[0] in always else str(key), []).append(" ".join(combination))
                always, varied = ([text for text in part if text not in gone] for part in (always, varied))
        applied |= {text.split("=", 1)[0] for text in (*always, *varied)}
        if not any(each.tree == tree and each.varied == varied for each in composed):
            composed.append(Combination(tree, varied, [*always, *varied]))
    for key, message in errors.items():
        if key not in applied:
            raise InputError(message)
    for text, names in left_out.items():
        say(f"{text} is ignored where the setting does not exist: {'; '.join(dict.fromkeys(names))}")
    return composed
