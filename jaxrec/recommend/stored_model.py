"""The model that a run directory names, built again: a class that is known here, with plain values as arguments.

The name was read from a file, which anybody may have written. So nothing is imported or called because a file says so:
the class is one that a file of conf/model names, or one that the caller passes.
"""

import dataclasses
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import yaml

from jaxrec.arguments import locate
from jaxrec.data.features import Encoded
from jaxrec.errors import InputError
from jaxrec.features import tables, with_tables
from jaxrec.history import History
from jaxrec.hyper import Hyper
from jaxrec.models.fold_in import fields
from jaxrec.models.model import Model, Params
from jaxrec.query import Query
from jaxrec.settings import CONF, get, registered

# What split=new_users measures, and so saves: models that know users by their histories alone.
FOLDED = {"mf_folded": "jaxrec.models.mf.FoldedMF", "ials_folded": "jaxrec.models.ials.FoldedALS"}


def stored(model: Model, hyper: Hyper | None = None) -> dict[str, Any]:
    """What a run stores of its model: `model`, its public name, and `arguments`.

    Args:
        model: stored by the name of the file in conf/model that names its class; a class that none names, by its path.
        hyper: numbers of the trained member, which stand for the arguments of these names.
    """
    arguments = fields(model)
    if hyper is not None:
        own = {name: value for name, value in hyper._asdict().items() if name in arguments and value is not None}
        own |= hyper.of("model")
        arguments |= {name: np.asarray(value).item() for name, value in own.items()}
    path = f"{type(model).__module__}.{type(model).__qualname__}"
    name = next((name for name, target in _named().items() if target == path), path)
    return {"model": name, "arguments": dict(sorted(arguments.items()))}


def restored(
    file: Path,
    extra: Mapping[str, Any],
    params: Params,
    given: type[Model] | None = None,
    encoded: Encoded | None = None,
) -> Model:
    """The model that was stored, checked against its parameters.

    Args:
        file: where this was read, for messages.
        extra: what was read beside the parameters, `model` and `arguments` among it.
        params: the parameters.
        given: the class of a model that is no part of jaxrec.
        encoded: the features read beside it, which a model may need to tell its shapes.

    Raises:
        InputError: the class is not known here, or arguments or parameters are not those of this version.
    """
    name, arguments = extra.get("model"), extra.get("arguments")
    if not isinstance(name, str) or not isinstance(arguments, Mapping):
        raise InputError(f"{file} names no model: another version of jaxrec, or another program, wrote it")
    path = _named().get(name, name if name in registered("model") else None)
    kind = given if given is not None else None if path is None else locate(path)
    if kind is None:
        raise InputError(
            f"{file} names the model {name}, which is not among those of jaxrec, so it is not loaded: for a model of "
            "your own pass its class, load(run, model=MyModel), or add --config-dir FOLDER with your model/NAME.yaml"
        )
    if not issubclass(kind, Model):
        raise InputError(
            f"{kind.__name__} does not derive from jaxrec.models.Model: write class {kind.__name__}(Model)"
        )
    if kind.__name__ != (path or name).rpartition(".")[2]:
        raise InputError(f"{file} holds the model {name}, not {kind.__name__}: pass the class that was trained")
    plain = {name: _plain(file, name, value) for name, value in arguments.items()}
    if unknown := sorted(set(plain) - {field.name for field in dataclasses.fields(kind)}):
        raise InputError(
            f"{file} gives {kind.__name__} the argument {unknown[0]}, which it does not have here: another version of "
            "jaxrec wrote it; load it with that version, or train the run again"
        )
    try:
        model = kind(**plain)
        expected = _shapes(with_tables(model, tables(model, encoded)))
    except Exception as error:  # arguments that do not fit fail in any of the model's own ways
        reason = str(error).partition("\n")[0]
        raise InputError(
            f"{file}: {kind.__name__} cannot be built from its arguments ({type(error).__name__}: {reason}): another "
            "version of jaxrec wrote it; load it with that version, or train the run again"
        ) from error
    found = {jax.tree_util.keystr(at): leaf.shape for at, leaf in jax.tree_util.tree_leaves_with_path(params)}
    for name, shape in expected.items():
        if found.get(name) != shape:
            found_there = f"has shape {found[name]}" if name in found else "is missing"
            raise InputError(
                f"{file}: the parameter {name} of {kind.__name__} {found_there} where this version of jaxrec expects "
                f"{shape}: another version wrote it; load it with that version, or train the run again"
            )
    return model


@functools.cache
def _named() -> dict[str, str]:
    """Public name → dotted path of the class, of the files of conf/model that name one."""
    files = {file.stem: yaml.safe_load(file.read_text(encoding="utf-8")) for file in sorted(CONF.glob("model/*.yaml"))}
    paths = {name: get(tree, "model._target_", tree.get("_target_")) for name, tree in files.items()}
    return {name: path for name, path in paths.items() if path} | FOLDED


def _plain(file: Path, name: str, value: Any) -> Any:
    """Lists as tuples; a value that would have to be built is refused."""
    if isinstance(value, Mapping):
        raise InputError(f"{file}: the argument {name} of the model is not a plain value, so it is not loaded")
    return tuple(_plain(file, name, part) for part in value) if isinstance(value, list | tuple) else value


def _shapes(model: Model) -> dict[str, tuple[int, ...]]:
    """Every parameter and its shape, without making one."""
    length = model.history_length
    nobody = Query(jnp.zeros(1, jnp.int32), History(jnp.full((1, length), -1, jnp.int32)) if length else None)
    made = jax.eval_shape(model.init, jax.random.key(0), nobody, jnp.zeros((1, 1), jnp.int32))
    return {jax.tree_util.keystr(at): leaf.shape for at, leaf in jax.tree_util.tree_leaves_with_path(made)}
