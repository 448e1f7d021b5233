"""Boundary to Hydra: composes conf/ and overrides into plain trees of dicts."""

import re
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationKeyError, InterpolationResolutionError, OmegaConfBaseException
from pydantic import Field, TypeAdapter

from jaxrec.arguments import check_value
from jaxrec.command_line import advice
from jaxrec.errors import InputError, first_line
from jaxrec.settings import COMMAND_KEYS, CONF, Tree, get, put, read, tuples
from jaxrec.settings.renamed import up_to_date
from jaxrec.settings.schedule import Schedule

SPACES = "see docs/howto/search.md"
# Hydra 1.3 warns if it is missing, later versions if it is there.
VERSION_BASE = {"version_base": "1.3"} if hydra.__version__.startswith("1.3.") else {}
_SEEDS: TypeAdapter[int | None] = TypeAdapter(Annotated[int, Field(ge=2)] | None)


def compose(overrides: Sequence[str], config_name: str = "config") -> Tree:
    """Compose the configuration of these overrides, e.g. `model=ease`, as the command line does.

    Raises:
        InputError: an unknown choice or key; the message lists the valid ones.
    """
    return plain(composed(overrides, config_name))


def composed(overrides: Sequence[str], config_name: str, with_hydra: bool = False) -> DictConfig:
    """Compose a configuration, with or without the settings and choices of Hydra itself; see `compose`."""
    outer = GlobalHydra.instance().hydra  # state of a caller that is itself a Hydra application
    GlobalHydra.instance().clear()
    try:
        with hydra.initialize_config_dir(str(CONF), **VERSION_BASE):
            return hydra.compose(config_name, list(overrides), return_hydra_config=with_hydra)
    except (HydraException, OmegaConfBaseException) as error:
        raise InputError(explain(error)) from error
    finally:
        GlobalHydra.instance().hydra = outer


def explain(error: BaseException) -> str:
    """Format a Hydra error in one line; for an unknown choice or key, list the valid ones."""
    if isinstance(error, MissingConfigException) and error.options:
        group, _, name = str(error.missing_cfg_file).rpartition("/")
        near = get_close_matches(name, error.options, 1)
        hint = f"did you mean {group}={near[0]}? " if near else ""
        return f"{group}={name}: unknown choice; {hint}Available: {', '.join(error.options)}"
    if isinstance(error, OverrideParseException):
        return _unreadable(error.override, error.message)
    if ambiguous := re.match(r"Ambiguous value for argument '(.*)'\n", str(error)):
        key, _, value = ambiguous[1].partition("=")
        return (
            f"{ambiguous[1]} has several values: for a run of each, add --multirun to jaxrec train; a list is "
            f"'{key}=[{value}]', text {advice(key, value)}"
        )
    if unknown := re.match(r"Could not override '(.*)'\.\s+No match in the defaults list", str(error)):
        return f"{unknown[1]} is unknown here: no choice of this command has that name, see its settings with --help"
    node = getattr(error.__cause__ or error, "parent_node", None)
    if (key := unknown_key(error)) and key.startswith("sweep.space."):
        return f"{key} is unknown here: write 'KEY=interval(LOW,HIGH)', or the space as a file, {SPACES}"
    if key and isinstance(node, DictConfig):
        keys = ", ".join(key for key in map(str, node) if not key.startswith("_"))
        return f"{key} is unknown here; {f'available: {keys}' if keys else 'this choice has no settings'}"
    if isinstance(error, InterpolationKeyError) and error.full_key:
        key = str(error).split("'")[1]
        group, other = (name.partition(".")[0] for name in (str(error.full_key), key))
        return f"{error.full_key} takes the value of {key}, which this {other} lacks: choose another {group} or {other}"
    if isinstance(error, InterpolationResolutionError):
        where = f"{error.full_key}: " if error.full_key else ""
        return f"{where}{first_line(error)}; set another value, or write \\${{ for ${{ in plain text"
    return "\n".join(line for line in str(error).splitlines() if line.strip())


def _unreadable(override: str, message: str) -> str:
    """Describe an override that Hydra cannot parse, with the quotes that it needs."""
    key, equals, value = override.partition("=")
    if not equals:
        return f"{override}: write KEY=VALUE, e.g. model=ease"
    if key != key.strip() or value != value.strip():
        return f"{override}: write KEY=VALUE without blanks around the =, {advice(key.strip(), value.strip())}"
    if key.lstrip("+~").startswith("sweep.space"):
        return f"{override} cannot be read: write 'KEY=interval(LOW,HIGH)', or the space as a file, {SPACES}"
    if value.startswith("choice(") and "NoneType" in message:
        return f"{override}: choice(...) cannot contain null: write the space as a file, {SPACES}"
    if "evaluating" in message:
        return " ".join([override + ":", *message.splitlines()[1:-1]])
    brackets = ", or close its brackets" if value.startswith(("[", "{", "(")) else ""
    return f"{override} cannot be read: put text with special characters in quotes, {advice(key, value)}{brackets}"


def unknown_key(error: BaseException) -> str | None:
    """Return the unknown key that a Hydra error is about; None for other errors."""
    cause = error.__cause__ or error
    if isinstance(cause, OmegaConfBaseException) and "is not in struct" in str(cause):
        return str(cause.full_key)
    return None


def plain(cfg: DictConfig) -> Tree:
    """Resolve a config to a plain tree without the keys of the command itself; lists become tuples.

    Raises:
        InputError: a mandatory value is missing, or a value refers to a setting that does not exist.
    """
    try:
        cfg = OmegaConf.masked_copy(cfg, [key for key in map(str, cfg) if key not in COMMAND_KEYS])
        missing = OmegaConf.missing_keys(cfg)
        tree = {} if missing else OmegaConf.to_container(cfg, resolve=True)
    except OmegaConfBaseException as error:
        raise InputError(explain(error)) from error
    if missing:
        raise InputError(f"missing values: set {', '.join(sorted(missing))}")
    assert isinstance(tree, dict)
    return _with_schedule({str(key): tuples(value) for key, value in up_to_date(tree).items()})


def _with_schedule(tree: Tree) -> Tree:
    """Return a tree with the content of its `trainer.schedule`, whose number of epochs replaces that of the trainer."""
    if (given := get(tree, "trainer.schedule")) is None:
        return tree
    is_file = isinstance(given, str)
    schedule = Schedule.of(read(Path(given)) if is_file else given, given if is_file else "trainer.schedule")
    changes: Tree = {"trainer.schedule": tuples(schedule.model_dump())}
    if schedule.epochs is not None:
        changes |= {"trainer.epochs": schedule.epochs, "trainer.patience": None}
    return put(tree, changes)


def overwrites(cfg: DictConfig) -> bool:
    """Return `overwrite`, the one setting of a command that `plain` leaves out and a run does not store.

    Raises:
        InputError: it is neither true nor false.
    """
    overwrite = cfg.get("overwrite", False)
    check_value(TypeAdapter(bool), overwrite, "overwrite")
    return bool(overwrite)


def n_seeds(cfg: DictConfig) -> int | None:
    """Return `seeds`, the number of seeds to train; None for the single seed `seed`.

    Raises:
        InputError: it is not a number of 2 or more.
    """
    seeds = cfg.get("seeds")
    check_value(_SEEDS, seeds, "seeds")
    return seeds
