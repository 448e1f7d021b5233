"""--multirun: a comparison if there are models, a search if there is a search space, else a grid."""

from collections.abc import Sequence
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, Override
from hydra.types import HydraContext
from omegaconf import DictConfig

from jaxrec.cli.contenders import compose_contenders
from jaxrec.cli.dimensions import dimension, is_dimension
from jaxrec.cli.grids import applicable, with_seed_overrides
from jaxrec.cli.launchers import make_launcher
from jaxrec.cli.tuned_choices import check_tuned_choices
from jaxrec.config import n_seeds, overwrites, plain
from jaxrec.console import show_warnings
from jaxrec.errors import InputError
from jaxrec.settings import Tree

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
    if empty := [o.input_line for o in lists if isinstance(o.value(), Glob) and not list(o.sweep_iterator())]:
        raise InputError(f"{empty[0]} matches nothing: glob() selects choices of a group, e.g. model=glob(mf*)")
    if several := [o.input_line for o in lists if _group(o) == "sweep"]:
        raise InputError(f"{several[0]}: only one search at a time; run one command per search")

    def load(texts: Sequence[str]) -> DictConfig:
        return hydra_context.config_loader.load_sweep_config(config, list(texts))

    lines = [str(o.input_line) for o in fixed]
    cfg = load(lines)
    tree, overwrite, seeds = plain(cfg), overwrites(cfg), n_seeds(cfg)
    has_directory = any(text.startswith("hydra.sweep.dir=") for text in hydra_overrides)
    directory = Path(config.hydra.sweep.dir) if has_directory else None
    space = {**(tree["sweep"]["space"] or {}), **typed}
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
    launcher = launch.HERE if workers == 1 else make_launcher(hydra_context, config)
    if models:
        if space or lists:
            chosen, swept = cfg.hydra.runtime.choices.sweep, [o.input_line for o in overrides if o.is_sweep_override()]
            if not swept:
                raise InputError(f"sweep.models: sweep={chosen} searches one model: use sweep=compare, or omit it")
            raise InputError(f"{swept[0]}: sweep={chosen} searches the space of every model: omit it")
        contenders = compose_contenders(hydra_context, load, cfg, models, fixed)
        return launch.compare_models(contenders, tree["sweep"], seeds, directory, overwrite, launcher)
    if space:
        check_tuned_choices(cfg, tree["sweep"].get("tunes", {}), fixed, typed)

        def compose(more: Sequence[str]) -> Tree:
            return plain(load([*lines, *more]))

        return launch.sweep(tree, space, compose, lines, directory, overwrite, launcher)
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
    trees = [(each.tree, each.varied) for each in applicable(load, [str(o.input_line) for o in fixed], combinations)]
    return launch.grid(trees if seeds is None else with_seed_overrides(trees, seeds), directory, overwrite)


def _group(override: Override) -> str:
    return str(override.key_or_group).partition(".")[0]
