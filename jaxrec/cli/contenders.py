"""Composition of the models of a comparison."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from hydra.core.override_parser.types import Override
from hydra.types import HydraContext
from omegaconf import DictConfig

from jaxrec.cli.grids import Combination, compose_grid
from jaxrec.cli.tuned_choices import Tunes, first_choices
from jaxrec.config import plain
from jaxrec.errors import InputError
from jaxrec.settings import Tree

if TYPE_CHECKING:
    from jaxrec.launch import Contender

MODEL_GROUPS = ("model", "loss", "negatives", "optimizer", "trainer")


def compose_contenders(
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
    if "model" in typed:
        raise InputError(f"{typed['model']} sets one model, and {comparison} trains several: list them in sweep.models")
    if (name := choices.get("experiment")) is not None:
        with_it, without = load([f"experiment={name}"]), load([])
        if changed := [part for part in MODEL_GROUPS if with_it.get(part) != without.get(part)]:
            raise InputError(
                f"experiment={name} sets {', '.join(changed)} for one model, and {comparison} trains several: only an "
                "experiment that sets data, split and evaluation can be compared; set these alone"
            )
    if twice := [name for name in models if list(models).count(name) > 1]:
        raise InputError(f"sweep.models has {twice[0]} twice: remove one")
    combinations = []
    for name in models:
        tunes: Tunes = {"model": name}
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
        brought = [f"{group}={choice}" for group, choice in first_choices(tunes).items()]
        combinations.append([*brought, *([f"sweep={name}"] if is_searched else []), f"split={choices.split}"])
    of_comparison = ("sweep", "sweep.models", "split")
    lines = [line for key, line in typed.items() if key not in of_comparison]
    composed = compose_grid(load, lines, combinations)

    def composer(each: Combination) -> Callable[[Sequence[str]], Tree]:
        return lambda more: plain(load([*each.lines, *more]))

    return [
        Contender(name, each.tree, each.tree["sweep"]["space"], composer(each), each.lines)
        for name, each in zip(models, composed, strict=True)
    ]
