"""--multirun: a comparison if there are models, a search if there is a search space, else a grid."""

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, Override
from hydra.types import HydraContext
from omegaconf import DictConfig

from jaxrec.cli.contenders import compose_contenders
from jaxrec.cli.dimensions import Dimension, dimension, is_dimension
from jaxrec.cli.grids import compose_grid, with_seed_overrides
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


class Overrides(NamedTuple):
    """The command line of a multirun.

    Attributes:
        dimensions: search dimensions, by key
        lists: comma-separated values, each of which is a run of its own
        fixed: single values
        swept: dimensions and lists, as written
    """

    dimensions: dict[str, Dimension]
    lists: list[Override]
    fixed: list[Override]
    swept: list[Override]


def multirun(hydra_context: HydraContext, config: DictConfig, arguments: Sequence[str]) -> object:
    """Compare models, search a space (of conf/sweep or the command line), or train every combination once."""
    from jaxrec import launch

    show_warnings()
    of_hydra = [str(o) for o in config.hydra.overrides.hydra]
    _check_used(of_hydra)
    given = _parsed(hydra_context, arguments)
    lines = [str(o.input_line) for o in given.fixed]

    def load(texts: Sequence[str]) -> DictConfig:
        return hydra_context.config_loader.load_sweep_config(config, list(texts))

    def compose(texts: Sequence[str]) -> Tree:
        return plain(load([*lines, *texts]))

    cfg = load(lines)
    tree, overwrite, seeds = plain(cfg), overwrites(cfg), n_seeds(cfg)
    _check_space(given, str(cfg.hydra.runtime.choices.sweep))
    space = {**(tree["sweep"]["space"] or {}), **given.dimensions}
    models, workers = tree["sweep"]["models"], tree["sweep"]["workers"]
    _check_seeds(given, seeds, is_search=bool(space) and not models)
    if space and given.lists:
        raise InputError(
            f"{given.lists[0].input_line} is a grid, but {next(iter(space))} is a search dimension: write "
            "choice(a,b) to search over a and b"
        )
    if workers == 1 and (options := [text for text in of_hydra if text.lstrip("+~").startswith(LAUNCHER)]):
        raise InputError(f"{options[0]} has no effect without several workers of a search: sweep.workers=4")
    launcher = launch.HERE if workers == 1 else make_launcher(hydra_context, config)
    has_directory = any(text.startswith("hydra.sweep.dir=") for text in of_hydra)
    directory = Path(config.hydra.sweep.dir) if has_directory else None
    if models:
        _check_compared(given, space, str(cfg.hydra.runtime.choices.sweep))
        contenders = compose_contenders(hydra_context, load, cfg, models, given.fixed)
        return launch.compare_models(contenders, tree["sweep"], seeds, directory, overwrite, launcher)
    if space:
        check_tuned_choices(cfg, tree["sweep"].get("tunes", {}), given.fixed, given.dimensions)
        return launch.sweep(tree, space, compose, lines, directory, overwrite, launcher)
    if settings_of_search := [o.input_line for o in given.fixed if _group(o) == "sweep" and o.value() != "none"]:
        raise InputError(
            f"{settings_of_search[0]} has no effect without a search space: add sweep=NAME or a dimension, e.g. "
            "'model.embedding_dim=choice(16,32)'"
        )
    trees = [(each.tree, each.varied) for each in compose_grid(load, lines, _combinations(given.lists))]
    return launch.grid(trees if seeds is None else with_seed_overrides(trees, seeds), directory, overwrite)


def _check_used(of_hydra: Sequence[str]) -> None:
    """Raise an InputError for settings of Hydra that have no effect."""
    for text in of_hydra:
        if (key := text.lstrip("+~").split("=", 1)[0]) in NOT_USED:
            raise InputError(f"{text} has no effect with --multirun: {NOT_USED[key]}")


def _parsed(hydra_context: HydraContext, arguments: Sequence[str]) -> Overrides:
    """Parse the overrides; raise an InputError for lists without values and lists of searches."""
    overrides = OverridesParser.create(config_loader=hydra_context.config_loader).parse_overrides(list(arguments))
    dimensions = {str(o.key_or_group): dimension(o) for o in overrides if is_dimension(o)}
    swept = [o for o in overrides if o.is_sweep_override()]
    lists = [o for o in swept if not is_dimension(o)]
    fixed = [o for o in overrides if not o.is_sweep_override()]
    if empty := [o.input_line for o in lists if isinstance(o.value(), Glob) and not list(o.sweep_iterator())]:
        raise InputError(f"{empty[0]} matches nothing: glob() selects choices of a group, e.g. model=glob(mf*)")
    if several := [o.input_line for o in lists if _group(o) == "sweep"]:
        raise InputError(f"{several[0]}: only one search at a time; run one command per search")
    return Overrides(dimensions, lists, fixed, swept)


def _check_space(given: Overrides, sweep: str) -> None:
    """Raise an InputError for a space in one override, which Hydra merges into the space of `sweep`."""
    whole = [o.input_line for o in given.fixed if o.key_or_group == "sweep.space" and o.value() is not None]
    if whole and sweep != "none":
        raise InputError(
            f"{whole[0]} would be mixed with the space of sweep={sweep}: write each dimension as "
            f"'KEY=interval(LOW,HIGH)', and model=NAME instead of sweep={sweep} to search these alone"
        )


def _check_seeds(given: Overrides, seeds: int | None, is_search: bool) -> None:
    """Raise an InputError for seeds that contradict each other or have no effect."""
    if wrong := [o.input_line for o in given.swept if o.key_or_group == "seeds"]:
        raise InputError(f"{wrong[0]}: use one number of seeds for all runs, e.g. seeds=3")
    if seeds is not None and is_search:
        raise InputError(
            f"seeds={seeds} has no effect on a search: omit it, then train the best trial with seeds={seeds}"
        )
    if seeds is not None and (wrong := [o.input_line for o in given.lists if o.key_or_group == "seed"]):
        raise InputError(f"{wrong[0]} and seeds={seeds} both set the seeds: use one of them")


def _check_compared(given: Overrides, space: Mapping[str, object], sweep: str) -> None:
    """Raise an InputError if a comparison of models is also a search of one space or a grid."""
    if given.swept:
        raise InputError(f"{given.swept[0].input_line}: sweep={sweep} searches the space of every model: omit it")
    if space:
        raise InputError(f"sweep.models: sweep={sweep} searches one model: use sweep=compare, or omit it")


def _combinations(lists: Sequence[Override]) -> list[list[str]]:
    """Every combination of the values of lists, as overrides."""
    values = [[f"{o.get_key_element()}={value}" for value in map(str, o.sweep_string_iterator())] for o in lists]
    return [list(combination) for combination in itertools.product(*values)]


def _group(override: Override) -> str:
    """Group of the setting that is overridden."""
    return str(override.key_or_group).partition(".")[0]
