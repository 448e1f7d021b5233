"""The model that a run directory names, built again: a class that is known here, with plain values for its fields.

What names the class was read from a file, which anybody may have written. So nothing is imported or called because a
file says so: the class is one of `jaxrec.models`, one that conf/model names, or one that the caller hands over.
"""

import dataclasses
import importlib
import pkgutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from jaxrec import models
from jaxrec.data.features import Encoded
from jaxrec.errors import InputError
from jaxrec.features import tables, with_tables
from jaxrec.history import History
from jaxrec.models.model import Model, Params
from jaxrec.query import Query
from jaxrec.settings import locate, registered


def stored_model(
    file: Path, module: Any, params: Params, given: type[Model] | None = None, encoded: Encoded | None = None
) -> Model:
    """The model with the fields that `module` states, checked against its parameters.

    Args:
        file: where this was read, for messages.
        module: `_target_`, the dotted path of the class, and its fields.
        params: the parameters read beside it.
        given: the class of a model that is no part of jaxrec.
        encoded: the features read beside it, which a model may need to tell its shapes.

    Raises:
        InputError: the class is not known here, or fields or parameters are not those of this version.
    """
    if not isinstance(module, Mapping) or not isinstance(path := module.get("_target_"), str):
        raise InputError(f"{file} names no model: another version of jaxrec, or another program, wrote it")
    kind = _known(path) if given is None else given
    if kind is None:
        raise InputError(
            f"{file} names the model {path}, which is not among those of jaxrec, so it is not loaded: for a model of "
            "your own pass its class, load(run, model=MyModel)"
        )
    if not issubclass(kind, Model):
        raise InputError(
            f"{kind.__name__} does not derive from jaxrec.models.Model: write class {kind.__name__}(Model)"
        )
    if kind.__name__ != path.rpartition(".")[2]:
        raise InputError(f"{file} holds a {path}, not a {kind.__name__}: pass the class that was trained")
    fields = {name: _plain(file, name, value) for name, value in module.items() if name != "_target_"}
    if unknown := sorted(set(fields) - {field.name for field in dataclasses.fields(kind)}):
        raise InputError(
            f"{file} gives {kind.__name__} the field {unknown[0]}, which it does not have here: another version of "
            "jaxrec wrote it; load it with that version, or train the run again"
        )
    try:
        model = kind(**fields)
        expected = _shapes(with_tables(model, tables(model, encoded)))
    except Exception as error:  # fields that do not fit fail in any of the model's own ways
        reason = str(error).partition("\n")[0]
        raise InputError(
            f"{file}: {kind.__name__} cannot be built from its fields ({type(error).__name__}: {reason}): another "
            "version of jaxrec wrote it; load it with that version, or train the run again"
        ) from error
    found = {jax.tree_util.keystr(at): leaf.shape for at, leaf in jax.tree_util.tree_leaves_with_path(params)}
    for name, shape in expected.items():
        if found.get(name) != shape:
            said = f"has shape {found[name]}" if name in found else "is missing"
            raise InputError(
                f"{file}: the parameter {name} of {kind.__name__} {said} where this version of jaxrec expects {shape}: "
                "another version wrote it; load it with that version, or train the run again"
            )
    return model


def _known(path: str) -> type[Model] | None:
    """The class of this path if it is one of jaxrec's models; nothing else is imported."""
    module, _, name = path.rpartition(".")
    if path in registered("model"):
        found = locate(path)
    elif module.removeprefix("jaxrec.models.") in {part.name for part in pkgutil.iter_modules(models.__path__)}:
        found = vars(importlib.import_module(module)).get(name)
    else:
        return None
    return found if isinstance(found, type) and issubclass(found, Model) else None


def _plain(file: Path, name: str, value: Any) -> Any:
    """Lists as tuples; a value that would have to be built is refused."""
    if isinstance(value, Mapping):
        raise InputError(f"{file}: the field {name} of the model is not a plain value, so it is not loaded")
    return tuple(_plain(file, name, part) for part in value) if isinstance(value, list | tuple) else value


def _shapes(model: Model) -> dict[str, tuple[int, ...]]:
    """Every parameter and its shape, without making one."""
    length = model.history_length
    nobody = Query(jnp.zeros(1, jnp.int32), History(jnp.full((1, length), -1, jnp.int32)) if length else None)
    made = jax.eval_shape(model.init, jax.random.key(0), nobody, jnp.zeros((1, 1), jnp.int32))
    return {jax.tree_util.keystr(at): leaf.shape for at, leaf in jax.tree_util.tree_leaves_with_path(made)}
