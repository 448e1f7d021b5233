"""Reconstruction of the model stored in a run directory: a known class with plain values as arguments.

The stored name is untrusted input, so it never triggers an import or a call: the class must be one named in conf/model,
or one that the caller passes.
"""

import dataclasses
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import yaml

from jaxrec.arguments import locate
from jaxrec.data.features import Encoded
from jaxrec.errors import InputError, first_line
from jaxrec.features import tables, with_tables
from jaxrec.hyper import Hyper
from jaxrec.models.fold_in import constructor_arguments
from jaxrec.models.model import Model, Params, parameter_shapes
from jaxrec.settings import CONF, get, registered

# Models evaluated, and therefore stored, by split=new_users: they know users only by their histories.
FOLDED = {"mf_folded": "jaxrec.models.mf.FoldedMF", "ials_folded": "jaxrec.models.ials.FoldedALS"}


def model_to_store(model: Model, hyper: Hyper | None = None) -> dict[str, object]:
    """Return the stored description of a model: `model`, its public name, and `arguments`.

    Args:
        model: stored under the name of its file in conf/model, or under its dotted path if it has none.
        hyper: hyperparameters of the trained member, which replace the arguments of the same names.
    """
    arguments = constructor_arguments(model)
    if hyper is not None:
        arguments |= {name: np.asarray(value).item() for name, value in hyper.of("model").items()}
    path = f"{type(model).__module__}.{type(model).__qualname__}"
    name = next((name for name, target in _named().items() if target == path), path)
    return {"model": name, "arguments": dict(sorted(arguments.items()))}


def restore_model(
    file: Path,
    extra: Mapping[str, object],
    params: Params,
    model_class: type[Model] | None = None,
    encoded: Encoded | None = None,
) -> Model:
    """Rebuild a stored model and check it against its parameters.

    Args:
        file: the file read, for error messages.
        extra: values stored with the parameters, including `model` and `arguments`.
        params: the parameters.
        model_class: the class of a model that is not part of jaxrec.
        encoded: the stored features, which may determine parameter shapes.

    Raises:
        InputError: an unknown class, or arguments or parameters that this version does not have.
    """
    name, arguments = extra.get("model"), extra.get("arguments")
    if not isinstance(name, str) or not isinstance(arguments, Mapping):
        raise InputError(f"{file} has no model name: it was written by another version of jaxrec or another program")
    path = _named().get(name, name if name in registered("model") else None)
    kind = model_class if model_class is not None else None if path is None else locate(path)
    if kind is None:
        raise InputError(
            f"{file} names the model {name}, which is not part of jaxrec, so it is not loaded: for your own model "
            "pass its class, load(run, model=MyModel), or add --config-dir FOLDER with your model/NAME.yaml"
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
            f"{file} has the argument {unknown[0]}, which {kind.__name__} does not take in this version of jaxrec: it "
            "was written by another version; load it with that version, or train the run again"
        )
    try:
        model = kind(**plain)
        expected = parameter_shapes(with_tables(model, tables(model, encoded)))
    except Exception as error:  # invalid arguments may raise any exception in the model
        reason = first_line(error)
        raise InputError(
            f"{file}: {kind.__name__} cannot be built from its arguments ({type(error).__name__}: {reason}): it was "
            "written by another version of jaxrec; load it with that version, or train the run again"
        ) from error
    shapes = {jax.tree_util.keystr(at): leaf.shape for at, leaf in jax.tree_util.tree_leaves_with_path(params)}
    for name, shape in expected.items():
        if shapes.get(name) != shape:
            actual = f"has shape {shapes[name]}" if name in shapes else "is missing"
            raise InputError(
                f"{file}: the parameter {name} of {kind.__name__} {actual}, expected shape {shape}: it was written by "
                f"another version of jaxrec; load it with that version, or train the run again"
            )
    return model


@functools.cache
def _named() -> dict[str, str]:
    """Map public model names to dotted class paths, from the files in conf/model."""
    files = {file.stem: yaml.safe_load(file.read_text(encoding="utf-8")) for file in sorted(CONF.glob("model/*.yaml"))}
    paths = {name: get(tree, "model._target_", tree.get("_target_")) for name, tree in files.items()}
    return {name: path for name, path in paths.items() if path} | FOLDED


def _plain(file: Path, name: str, value: object) -> Any:
    """Convert lists to tuples; reject values that are not plain."""
    if isinstance(value, Mapping):
        raise InputError(f"{file}: the argument {name} of the model is not a plain value, so it is not loaded")
    return tuple(_plain(file, name, part) for part in value) if isinstance(value, list | tuple) else value
