"""Detection of incompatible settings before any data is read."""

import inspect
from typing import Any

from jaxrec.arguments import locate
from jaxrec.errors import InputError
from jaxrec.fitting.composite_prior import CompositePrior
from jaxrec.fitting.reconstruction import Reconstruction, check_autoencoder
from jaxrec.fitting.sequence import MaskedItem, NextItem, check_sequence_model
from jaxrec.mesh import check_batch
from jaxrec.models.attention import check_heads
from jaxrec.models.model import Alternating, Model, Solved
from jaxrec.models.sequence import SequenceModel
from jaxrec.negatives.sampler import Sampler
from jaxrec.settings.building import signature
from jaxrec.settings.files import choice_of
from jaxrec.settings.tree import Tree

COSINES = {"temperature": 1, "cosine": True, "biases": False}  # settings of a model whose scores are then cosines
SOFTMAX = "jaxrec.fitting.sequence_losses.Softmax"  # the cost of a sequence loss that needs no negatives
NOT_VALIDATED = {"validation_fraction": 0, "validation_days": 0, "validation_from": None}


def check_combinations(tree: Tree) -> None:
    """Raise an InputError if data source, split, model, loss and evaluation are incompatible."""
    _check_columns(tree)
    _check_given(tree)
    _check_negatives(tree)
    _check_predictions(tree)
    _check_model(tree)
    _check_head(tree)
    _check_cosines(tree)


def check_training(tree: Tree) -> None:
    """Raise an InputError if the model cannot be trained by this trainer, or without or with this loss."""
    model, trainer, loss = (str(tree[part].get("_target_", "")) for part in ("model", "trainer", "loss"))
    name, model_class = model.rpartition(".")[2], locate(model)
    uses_gradient = "objective" in signature(trainer)[0]
    if not (isinstance(model_class, type) and issubclass(model_class, Model)):
        raise InputError(f"model._target_: {model} does not derive from jaxrec.models.Model: write class {name}(Model)")
    kinds: dict[str, type[Model]] = {"closed_form": Solved, "alternating": Alternating}
    required = next((kind for kind, base in kinds.items() if issubclass(model_class, base)), "gradient")
    chosen = choice_of("trainer", tree["trainer"])
    if not issubclass(model_class, kinds.get(chosen, Model)):
        raise InputError(f"trainer={chosen} cannot train {name}: set trainer={required}")
    if uses_gradient and required != "gradient":
        raise InputError(f"{name} is not trained by gradient descent: set trainer={required}")
    if loss and not uses_gradient:
        raise InputError(
            f"{name} is trained without a loss, so loss={choice_of('loss', tree['loss'])} has no effect: omit it "
            "(loss=none), or choose a model with a loss, e.g. model=mf"
        )
    for part, word in (("optimizer", "an optimizer"), ("negatives", "negatives")):
        if "_target_" in tree.get(part, {}) and not uses_gradient:
            raise InputError(
                f"{name} is trained without {word}, so {part}={choice_of(part, tree[part])} has no effect: omit "
                f"it ({part}=none), or choose a model that is trained by gradient descent, e.g. model=mf"
            )
    if uses_gradient and not loss:
        raise InputError(f"{name} needs a loss and none is set: set one, e.g. loss=bpr")
    if uses_gradient and "_target_" not in tree.get("optimizer", {}):
        raise InputError(f"{name} needs an optimizer and none is set: set one, e.g. optimizer=adam")


def check_parts(tree: Tree) -> None:
    """Raise an InputError if trainer, loss and negatives are incompatible."""
    loss = str(tree["loss"].get("_target_", ""))
    if (mesh := tree["trainer"].get("mesh")) and "batch_size" in tree["trainer"]:
        check_batch(tree["trainer"]["batch_size"], mesh.get("batch", "auto"))
    sampler = tree.get("negatives", {}).get("_target_")
    cost = _cost(tree["loss"])
    samples = loss.endswith(".SampledObjective") or (cost.startswith("jaxrec.") and cost != SOFTMAX)
    if samples and sampler is None:
        raise InputError("this loss needs negatives and none are set: set a sampler, e.g. negatives=uniform")
    if sampler is not None and isinstance(kind := locate(sampler), type) and not issubclass(kind, Sampler):
        raise InputError(
            f"negatives._target_: {sampler} does not derive from jaxrec.negatives.sampler.Sampler: write class "
            f"{kind.__name__}(Sampler)"
        )


def check_validated(tree: Tree) -> None:
    """Raise an InputError if the split has no validation data."""
    split = tree["split"]
    if tree["data"].get("validation") is None and any(
        key in split and split[key] == value for key, value in NOT_VALIDATED.items()
    ):
        raise InputError("a search needs validation data: set split.validation_fraction or data.validation")


def _check_columns(tree: Tree) -> None:
    """Raise an InputError if the split or the loss needs a column whose name is not set."""
    for part, target in (("split", _target(tree, "split")), ("loss", _target(tree, "loss"))):
        for column in getattr(target, "reads", ()):
            if tree["data"].get(key := f"{column}_column", "") is None:
                raise InputError(
                    f"this {part} needs {column}s: set data.{key} to their column, or choose another {part}"
                )


def _check_given(tree: Tree) -> None:
    data, split = tree["data"], str(tree["split"].get("_target_", ""))
    if not split.startswith("jaxrec.") or not {"path", "train"} <= data.keys():
        return
    if split.endswith(".given"):
        if data["path"] is not None and data["train"] is None:
            raise InputError("split=given needs data that is already split: set data.train=FILE and data.test=FILE")
    elif data["train"] is not None:
        raise InputError("the data is already split: set split=given, or set data.path to one file to split it again")


def _check_negatives(tree: Tree) -> None:
    loss, negatives = tree["loss"], tree.get("negatives", {})
    if "_target_" not in loss or "_target_" not in negatives:
        return
    cost = _cost(loss)
    if cost == SOFTMAX or "negatives" not in inspect.signature(_target(tree, "loss")).parameters:
        raise InputError(
            f"this loss samples no negatives, so negatives={choice_of('negatives', negatives)} has no effect: omit it "
            "(negatives=none), or choose a loss that does, e.g. loss=bpr"
        )
    if cost:
        share = loss["cost"].get("share", "user")
        for part in (negatives, negatives.get("first"), negatives.get("second")):
            allowed = getattr(locate(part["_target_"]), "shares", (share,)) if part else (share,)
            if share not in allowed:
                raise InputError(
                    f"negatives={choice_of('negatives', part)} cannot be drawn with loss.cost.share={share}: "
                    f"set loss.cost.share={' or '.join(allowed)}"
                )


def _check_predictions(tree: Tree) -> None:
    """Raise an InputError if the predictions that are measured are not those that the model learns."""
    evaluation, loss = tree["eval"], _target(tree, "loss")
    of_labels = evaluation.get("threshold") is not None
    if not of_labels and not str(evaluation.get("_target_", "")).endswith(".Predictions"):
        return
    if loss is None and not str(tree["model"].get("_target_")).startswith("jaxrec."):
        return
    if loss is None or "value" not in getattr(loss, "reads", ()):
        part = "model" if loss is None else "loss"
        raise InputError(
            f"eval=values and eval=clicks measure predictions, but this {part} learns to rank: choose loss=mse or "
            "loss=click, or eval=full"
        )
    if of_labels != (tree["loss"].get("threshold") is not None):
        learned, fitting = ("values", "values") if of_labels else ("labels", "clicks")
        raise InputError(
            f"eval={'clicks' if of_labels else 'values'} measures other predictions than the {learned} that this loss "
            f"learns: choose eval={fitting} or eval=full"
        )


def _check_model(tree: Tree) -> None:
    model, loss = tree["model"], tree["loss"]
    if {"n_heads", "embedding_dim"} <= model.keys():
        check_heads(model["n_heads"], model["embedding_dim"])
    if (teacher := _target(tree, "loss")) in (NextItem, MaskedItem):
        kind = _target(tree, "model")
        length = model.get("history_length", kind.history_length)
        check_sequence_model(kind, length, loss.get("stride"), causal=teacher.causal)
    if teacher in (Reconstruction, CompositePrior):
        check_autoencoder(_target(tree, "model"))


def _check_head(tree: Tree) -> None:
    """Raise an InputError if the model has no cosines or mixtures, or the loss cannot train a mixture."""
    model, kind = tree["model"], _target(tree, "model")
    if not (isinstance(kind, type) and issubclass(kind, SequenceModel)):
        return
    n = model.get("query_components", 0)
    # A family may have a setting of its own with one of these names.
    general, own = SequenceModel.__dataclass_fields__, kind.__dataclass_fields__
    chosen = [key for key in ("temperature", "query_components") if model.get(key) and own[key] is general[key]]
    if chosen and not kind.has_head:
        raise InputError(f"{kind.__name__} scores by dot products only: remove model.{chosen[0]}")
    unused = [key for key in ("item_components", "component_dim") if not n and model.get(key) is not None]
    if unused:
        raise InputError(
            f"model.{unused[0]}={model[unused[0]]} only has an effect in a mixture: set model.query_components, or "
            "remove it"
        )
    if not n or "cost" not in tree["loss"]:
        return
    cost = locate(tree["loss"]["cost"]["_target_"])
    if "compare" not in inspect.signature(cost.__call__ if isinstance(cost, type) else cost).parameters:
        raise InputError(
            f"model.query_components={n} mixes several products, and loss.cost={cost.__name__} scores by one: set "
            "model.query_components=0, or let the cost take `compare`, see jaxrec.fitting.sequence_losses.Cost"
        )


def _check_cosines(tree: Tree) -> None:
    """Raise an InputError if the loss compares cosines and the scores of the model are not cosines."""
    loss, model = tree["loss"], tree["model"]
    parts = (loss, loss.get("loss"), (loss.get("cost") or {}).get("loss"))
    compares = any(part and getattr(locate(part["_target_"]), "compares_cosines", False) for part in parts)
    if not compares or not str(model.get("_target_")).startswith("jaxrec."):
        return
    if "temperature" not in model or getattr(locate(model["_target_"]), "has_item_bias", False):
        other = "sasrec model.temperature=1" if _cost(loss) else "mf_cosine model.temperature=1 model.biases=false"
        raise InputError(f"this loss compares cosines, which this model lacks: choose model={other}")
    changes = [
        f"model.{key}={str(value).lower()}" for key, value in COSINES.items() if key in model and model[key] != value
    ]
    if changes:
        raise InputError(f"this loss compares cosines: set {' '.join(changes)}")


def _cost(loss: Tree) -> str:
    """Return the target of the cost of a sequence loss; empty for other losses."""
    return str(loss.get("cost", {}).get("_target_", ""))


def _target(tree: Tree, part: str) -> Any:
    path = tree[part].get("_target_")
    return None if path is None else locate(path)
