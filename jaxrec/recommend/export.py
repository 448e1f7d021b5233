"""A run as one artifact that other programs load without jaxrec: compiled, with its weights, ids and vectors.

program.bin          StableHLO by `jax.export`: any number of rows, for several platforms
weights.npz          what the program is given first, in order
tables.npz           user_ids, item_ids, what each user had, titles
load.py              reads all of that with jax and numpy alone: `jaxrec.recommend.exported`, copied
item_vectors, user_vectors   .parquet (id, vector) or .npy, in the order of the id tables: their dot products are the
                     scores, for a vector database; of models that have vectors
about.json           last, so that a folder that has it is complete
"""

import io
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Array, Float, Int

from jaxrec.checkpoint import write_atomic, write_json, write_text
from jaxrec.errors import InputError
from jaxrec.recommend import exported
from jaxrec.recommend.batch_recommender import BatchRecommender
from jaxrec.recommend.recommender import Recommender, load

PLATFORMS = ("cpu", "cuda", "tpu")


def export(
    run: str,
    out: str,
    k: int = 100,
    vectors: Literal["parquet", "npy", "none"] = "parquet",
    platforms: tuple[str, ...] = PLATFORMS,
) -> list[str]:
    """Writes the folder `out`; says what is in it.

    run: a run directory; k: the longest list that can be asked for, at most the catalog; vectors: how to write them

    Raises InputError for what cannot be exported.
    """
    if unknown := sorted(set(platforms) - set(PLATFORMS)):
        raise InputError(f"platforms={unknown[0]}: there are {', '.join(PLATFORMS)}")
    if find_spec("flatbuffers") is None:
        raise InputError("an export is written with flatbuffers, which is missing: pip install 'jaxrec[export]'")
    model, folder = load(run), Path(out)
    k = min(k, len(model.item_ids))
    answers = model.answers(k, 1, _history_length(model))
    program, weights = _program(answers, platforms)
    about = {
        "model": type(model.model).__name__,
        "k": k,
        "history_length": answers.length,
        "new_users": "model" if model.knows_new_users else "popularity",
        "users": len(model.user_ids),
        "items": len(model.item_ids),
        "platforms": list(platforms),
        "jax": jax.__version__,
    }
    write_atomic(folder / "program.bin", lambda path: _write(path, program))
    write_atomic(folder / "weights.npz", partial(_npz, arrays={f"{i:04}": w for i, w in enumerate(weights)}))
    write_atomic(folder / "tables.npz", partial(_npz, arrays=_tables(model)))
    write_text(folder / "load.py", Path(exported.__file__).read_text(encoding="utf-8"))
    said = [f"{folder}: {about['model']}, lists of up to {k}, for {', '.join(platforms)}; load.py reads it"]
    if vectors != "none":
        said += _vectors(model, folder, vectors)
    write_json(folder / "about.json", about)
    return said


def _history_length(model: Recommender) -> int:
    """What the program reads of a history: as much as the model, or, folding in, the longest that is known."""
    if reads := model.model.history_length:
        return reads
    folds = model.model.has_field("n_users") and model.knows_new_users
    return max(1, int(np.diff(model.known.offsets).max(initial=1))) if folds else 1


def _program(answers: BatchRecommender, platforms: tuple[str, ...]) -> tuple[bytes, list[np.ndarray]]:
    """The serialized program, and the arrays it takes before users, histories and what is excluded."""
    leaves, tree = jax.tree.flatten(answers.scored.shared)

    def lists(
        weights: list[Array], users: Int[Array, "B"], histories: Int[Array, "B T"], excluded: Int[Array, "B X"]
    ) -> tuple[Int[Array, "B K"], Float[Array, "B K"]]:
        scores = answers.scored.scores(jax.tree.unflatten(tree, weights), users, histories)
        hidden = jnp.where(excluded < 0, answers.scored.n_items, excluded)
        scores = scores.at[jnp.arange(users.shape[0])[:, None], hidden].set(-jnp.inf, mode="drop")
        # By hand what `ranking.top_k` does: 0.0 must not come before -0.0.
        values, items = jax.lax.top_k(jnp.where(scores == 0, 0.0, scores), answers.k)
        return jnp.where(values > -jnp.inf, items, -1), values

    rows, length = jax.export.symbolic_shape("b, x")
    shaped = partial(jax.ShapeDtypeStruct, dtype=jnp.int32)
    given = [jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for leaf in leaves]
    asked = (shaped((rows,)), shaped((rows, answers.length)), shaped((rows, length)))
    try:
        program = bytes(jax.export.export(jax.jit(lists), platforms=platforms)(given, *asked).serialize())
    except Exception as error:  # whatever tracing, lowering or writing does not take: they have no common kind
        name, why = type(answers.scored.model).__name__, str(error).partition("\n")[0]
        raise InputError(
            f"{name} cannot be exported for {', '.join(platforms)}: {why}. Serve it from its run directory "
            "(jaxrec serve), or export it for fewer platforms"
        ) from error
    return program, [np.asarray(leaf) for leaf in leaves]


def _tables(model: Recommender) -> dict[str, np.ndarray]:
    known = {f"known_{name}": getattr(model.known, name) for name in ("offsets", "items", "target")}
    found = {"user_ids": model.user_ids, "item_ids": model.item_ids, "titles": model.titles, **known}
    present = {name: np.asarray(table) for name, table in found.items() if table is not None}
    # Text as numpy's own, for what holds objects is read by pickle only.
    return {name: table.astype(str) if table.dtype.kind == "O" else table for name, table in present.items()}


def _vectors(model: Recommender, folder: Path, kind: str) -> list[str]:
    tables = {
        "item": (model.item_ids, model.item_vectors()),
        "user": (model.user_ids, model.user_vectors(np.arange(len(model.user_ids)))),
    }
    said = []
    for name, (ids, vectors) in tables.items():
        if vectors is None:
            return [f"no vectors: scores of {type(model.model).__name__} are no dot products"]
        path = folder / f"{name}_vectors.{kind}"
        if kind == "npy":
            write_atomic(path, partial(np.save, arr=vectors))
        else:
            column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1])
            write_atomic(path, partial(pq.write_table, pa.table({f"{name}_id": pa.array(ids), "vector": column})))
        said.append(f"{path}: {len(ids):,} vectors of {vectors.shape[1]}")
    return said


def _npz(path: Path, arrays: dict[str, np.ndarray]) -> None:
    buffer: Any = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    _write(path, buffer.getvalue())


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content)
