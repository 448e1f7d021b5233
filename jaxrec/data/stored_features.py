"""Serialization of encoded features, including vocabularies and scales, for checkpoints."""

from collections.abc import Mapping
from typing import NotRequired, TypedDict, cast

import numpy as np
import pandas as pd

from jaxrec.data.dense_features import DenseScale
from jaxrec.data.features import Encoded, Features, Scale, Schema, Vocabulary

ARRAYS = ("categories", "bags", "numbers")
KINDS = {"users": "of_users", "items": "of_items"}


class StoredVocabulary(TypedDict):
    """Serialized `Vocabulary`."""

    column: str
    names: list[str]


class StoredScale(TypedDict):
    """Serialized `Scale`."""

    column: str
    mean: float
    deviation: float
    flagged: bool


class StoredDense(TypedDict):
    """Serialized `DenseScale`."""

    column: str
    mean: list[float]
    deviation: float
    flagged: bool


class StoredSchema(TypedDict):
    """Serialized `Schema`; runs of earlier versions have no `dense`."""

    categories: list[StoredVocabulary]
    bags: list[StoredVocabulary]
    numbers: list[StoredScale]
    left_out: dict[str, str]
    bag_length: int
    max_text: int
    dense: NotRequired[list[StoredDense]]


def features_to_store(encoded: Encoded) -> dict[str, object]:
    """Return features as name → array or JSON value; features that are None are omitted."""
    values: dict[str, object] = {}
    for kind, name in KINDS.items():
        part: Features | None = getattr(encoded, name)
        if part is not None:
            values |= {f"features_{kind}_{array}": getattr(part, array) for array in ARRAYS}
            values[f"features_{kind}_schema"] = _plain(part.schema)
    return values


def restore_features(values: Mapping[str, object]) -> Encoded:
    """Return the features that `stored` serialized; None for those omitted."""
    parts = []
    for kind in KINDS:
        schema = cast(StoredSchema | None, values.get(f"features_{kind}_schema"))
        categories, bags, numbers = (np.asarray(values.get(f"features_{kind}_{array}")) for array in ARRAYS)
        parts.append(None if schema is None else Features(categories, bags, numbers, _schema(schema)))
    return Encoded.holding(*parts)


def _plain(schema: Schema) -> StoredSchema:
    def vocabularies(of: tuple[Vocabulary, ...]) -> list[StoredVocabulary]:
        return [{"column": vocabulary.column, "names": vocabulary.names.tolist()} for vocabulary in of]

    return {
        "categories": vocabularies(schema.categories),
        "bags": vocabularies(schema.bags),
        "numbers": [
            {"column": s.column, "mean": s.mean, "deviation": s.deviation, "flagged": s.flagged} for s in schema.numbers
        ],
        "left_out": dict(schema.left_out),
        "bag_length": schema.bag_length,
        "max_text": schema.max_text,
        "dense": [
            {"column": s.column, "mean": list(s.mean), "deviation": s.deviation, "flagged": s.flagged}
            for s in schema.dense
        ],
    }


def _schema(plain: StoredSchema) -> Schema:
    def vocabularies(of: list[StoredVocabulary]) -> tuple[Vocabulary, ...]:
        return tuple(Vocabulary(part["column"], pd.Index(part["names"], dtype=str)) for part in of)

    return Schema(
        categories=vocabularies(plain["categories"]),
        bags=vocabularies(plain["bags"]),
        numbers=tuple(Scale(**scale) for scale in plain["numbers"]),
        left_out=plain["left_out"],
        bag_length=plain["bag_length"],
        max_text=plain["max_text"],
        dense=tuple(
            DenseScale(s["column"], tuple(s["mean"]), s["deviation"], s["flagged"]) for s in plain.get("dense", [])
        ),
    )
