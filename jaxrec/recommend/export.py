"""Export of a run as an artifact that loads without jaxrec: compiled program, weights, ids and vectors.

program.bin          StableHLO from `jax.export`: any number of rows, several platforms
weights.npz          leading arguments of the program, in order
tables.npz           user_ids, item_ids, user histories, titles
load.py              loader that needs only jax and numpy: a copy of `jaxrec.recommend.exported`
item_vectors, user_vectors   .parquet (id, vector) or .npy, in the order of the id tables, for models with vectors:
                     their dot products are the scores, e.g. for a vector database
about.json           written last, so a folder that has it is complete
"""

import contextlib
import hashlib
import io
from collections.abc import Iterator
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

from jaxrec.atomic_files import remove_mark, write_atomic, write_json, write_text
from jaxrec.errors import InputError, first_line
from jaxrec.recommend import exported, history_columns
from jaxrec.recommend.batch_recommender import BatchRecommender
from jaxrec.recommend.history_columns import DTYPES
from jaxrec.recommend.recommender import Recommender, load

PLATFORMS = ("cpu", "cuda", "tpu")


def export(
    run: str,
    out: str,
    k: int = 100,
    vectors: Literal["parquet", "npy", "none"] = "parquet",
    platforms: tuple[str, ...] = PLATFORMS,
) -> list[str]:
    """Write the export folder `out`.

    Args:
        run: a run directory.
        out: the folder to write.
        k: maximum list length, capped at the catalog size.
        vectors: file format of the vectors; "none" for no vectors.
        platforms: platforms to compile for.

    Returns:
        One line per part written, for display.

    Raises:
        InputError: an unknown platform, a missing package, or a model that cannot be exported.
    """
    if unknown := sorted(set(platforms) - set(PLATFORMS)):
        raise InputError(f"platforms={unknown[0]} is unknown; choose from {', '.join(PLATFORMS)}")
    if find_spec("flatbuffers") is None:
        raise InputError("export needs flatbuffers, which is not installed: pip install 'jaxrec[export]'")
    model, folder = load(run), Path(out)
    k = min(k, len(model.item_ids))
    recommender = model.batch_recommender(k, 1, _history_length(model))
    program, weights = _program(recommender, platforms)
    about: dict[str, object] = {
        "format": exported.FORMAT,
        "model": type(model.model).__name__,
        "k": k,
        "history_length": recommender.length,
        "history_columns": list(model.model.history_columns),
        "event_names": list(model.event_names),
        "new_users": "model" if model.knows_new_users else "popularity",
        "users": len(model.user_ids),
        "items": len(model.item_ids),
        "platforms": list(platforms),
        "jax": jax.__version__,
    }
    remove_mark(folder / "about.json")  # of an export that is replaced
    write_atomic(folder / "program.bin", lambda path: _write(path, program))
    write_atomic(folder / "weights.npz", partial(_npz, arrays={f"{i:04}": w for i, w in enumerate(weights)}))
    write_atomic(folder / "tables.npz", partial(_npz, arrays=_tables(model)))
    write_text(folder / "load.py", Path(exported.__file__).read_text(encoding="utf-8"))
    lines = [f"{folder}: {about['model']}, lists of up to {k} items, for {', '.join(platforms)}; load with load.py"]
    if vectors != "none":
        lines += _vectors(model, folder, vectors)
    parts = ("program.bin", "weights.npz", "tables.npz")
    about["sha256"] = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in parts}
    write_json(folder / "about.json", about)
    return lines


def _history_length(model: Recommender) -> int:
    """Return the history length of the program: the model's, or with fold-in the longest of the run, rounded up."""
    if reads := model.model.history_length:
        return reads
    folds = model.model.has_field("n_users") and model.knows_new_users
    return model.longest_history if folds else 1


def _program(recommender: BatchRecommender, platforms: tuple[str, ...]) -> tuple[bytes, list[np.ndarray]]:
    """Return the serialized program, and its leading array arguments (before users, histories and excluded items)."""
    leaves, tree = jax.tree.flatten(recommender.scorer.shared)

    def lists(
        weights: list[Array],
        users: Int[Array, "B"],
        histories: Int[Array, "B T"] | dict[str, Array],
        excluded: Int[Array, "B X"],
    ) -> tuple[Int[Array, "B K"], Float[Array, "B K"]]:
        columns = dict(histories) if isinstance(histories, dict) else {"items": histories}
        items = columns.pop("items")
        scores = recommender.scorer.scoring.scores(jax.tree.unflatten(tree, weights), users, items, columns)
        hidden = jnp.where(excluded < 0, recommender.scorer.n_items, excluded)
        scores = scores.at[jnp.arange(users.shape[0])[:, None], hidden].set(-jnp.inf, mode="drop")
        # Same rule as `jaxrec.top_k`: 0.0 must not rank before -0.0.
        values, items = jax.lax.top_k(jnp.where(scores == 0, 0.0, scores), recommender.k)
        return jnp.where(values > -jnp.inf, items, -1), values

    rows, length = jax.export.symbolic_shape("b, x")
    shaped = partial(jax.ShapeDtypeStruct, dtype=jnp.int32)
    leaf_shapes = [jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for leaf in leaves]
    window: Any = shaped((rows, recommender.length))
    if names := recommender.scorer.model.history_columns:
        window = {"items": window, **{name: jax.ShapeDtypeStruct(window.shape, DTYPES[name]) for name in names}}
    row_shapes = (shaped((rows,)), window, shaped((rows, length)))
    try:
        with _without_folders():
            made = jax.export.export(jax.jit(lists), platforms=platforms)(leaf_shapes, *row_shapes)
            program = bytes(made.serialize())
    except Exception as error:  # tracing, lowering and serialization have no common exception class
        name, why = type(recommender.scorer.model).__name__, first_line(error)
        raise InputError(
            f"{name} cannot be exported for {', '.join(platforms)}: {why}. Serve it from its run directory "
            "(jaxrec serve), or export it for fewer platforms"
        ) from error
    return program, [np.asarray(leaf) for leaf in leaves]


@contextlib.contextmanager
def _without_folders() -> Iterator[None]:
    """Keep the folders of this machine out of the source locations of a program."""
    name = "jax_hlo_source_file_canonicalization_regex"
    before = getattr(jax.config, name)
    jax.config.update(name, ".*/")
    try:
        yield
    finally:
        jax.config.update(name, before)


def _tables(model: Recommender) -> dict[str, np.ndarray]:
    known = {f"known_{name}": getattr(model.known, name) for name in ("offsets", "items", "target")}
    names = model.model.history_columns
    known |= {f"known_{name}": column for name, column in history_columns.entries(model.known, names).items()}
    tables = {"user_ids": model.user_ids, "item_ids": model.item_ids, "titles": model.titles, **known}
    present = {name: np.asarray(table) for name, table in tables.items() if table is not None}
    # NumPy strings, because object arrays can only be loaded with pickle.
    return {name: table.astype(str) if table.dtype.kind == "O" else table for name, table in present.items()}


def _vectors(model: Recommender, folder: Path, kind: str) -> list[str]:
    tables = {
        "item": (model.item_ids, model.item_vectors()),
        "user": (model.user_ids, model.user_vectors(np.arange(len(model.user_ids)))),
    }
    lines = []
    for name, (ids, vectors) in tables.items():
        if vectors is None:
            return [f"no vectors: the scores of {type(model.model).__name__} are not dot products"]
        path = folder / f"{name}_vectors.{kind}"
        if kind == "npy":
            write_atomic(path, partial(np.save, arr=vectors))
        else:
            column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1])
            write_atomic(path, partial(pq.write_table, pa.table({f"{name}_id": pa.array(ids), "vector": column})))
        lines.append(f"{path}: {len(ids):,} vectors of dimension {vectors.shape[1]}")
    return lines


def _npz(path: Path, arrays: dict[str, np.ndarray]) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    _write(path, buffer.getvalue())


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content)
