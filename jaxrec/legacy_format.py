"""Reader of the model format of jaxrec 0.1.0, which is no longer written.

The format is one file, `params.npz`: its members are parameters, named by their keys joined with "/", further arrays
("@extra/NAME"), and JSON ("@meta"). The model class is stored as its dotted path in 0.1.0.
"""

import io
import json
import zipfile
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from flax.traverse_util import unflatten_dict

from jaxrec.models.model import Params

FILE = "params.npz"

# Class names in 0.1.0, which must not be changed, by module, which is also the name in conf/model.
_CLASSES = {
    "ancf": "ANCF",
    "bert4rec": "BERT4Rec",
    "dlrm": "DLRM",
    "ease": "EASE",
    "gmf": "GMF",
    "gru4rec": "GRU4Rec",
    "ials": "ImplicitALS",
    "item_knn": "ItemKNN",
    "mf": "MatrixFactorisation",
    "mlp": "MLP",
    "neumf": "NeuMF",
    "nextitnet": "NextItNet",
    "popularity": "Popularity",
    "sasrec": "SASRec",
    "softmax_dnn": "SoftmaxDNN",
    "user_knn": "UserKNN",
}
NAMES = {f"jaxrec.models.{module}.{kind}": module for module, kind in _CLASSES.items()}
NAMES |= {"jaxrec.models.mf.FoldedMF": "mf_folded", "jaxrec.models.ials.FoldedALS": "ials_folded"}


def read(path: Path) -> tuple[Params, dict[str, object]]:
    """Return parameters and extras as `checkpoint.load` does, with the model by its public name."""
    with zipfile.ZipFile(path) as archive:

        def member(name: str) -> np.ndarray:
            if (
                archive.getinfo(f"{name}.npy").compress_type != zipfile.ZIP_STORED
            ):  # a small file may unpack to any size
                raise ValueError("its arrays are compressed")
            # Read completely first, so that the checksum is verified before NumPy parses the data.
            return np.lib.format.read_array(io.BytesIO(archive.read(f"{name}.npy")), allow_pickle=False)

        meta = json.loads(member("@meta").tobytes())
        if meta["format"] != 1:
            raise ValueError(f"format {meta['format']}")
        names = [name.removesuffix(".npy") for name in archive.namelist()]
        arrays = {name: member(name) for name in names if name != "@meta"}
    for name, dtype in meta["dtypes"].items():
        arrays[name] = arrays[name].view(jnp.dtype(dtype))
    for name, strings in meta["strings"].items():
        arrays[name] = np.array(strings["values"], object).reshape(strings["shape"])
    params: dict[tuple[str, ...], object] = {tuple(name.split("/")): {} for name in meta["empty"]}
    extra = dict(meta["json"])
    for name, array in arrays.items():
        if name.startswith("@extra/"):
            extra[name.removeprefix("@extra/")] = array
        else:
            params[tuple(name.split("/"))] = array
    return unflatten_dict(params), with_public_name(extra)


def with_public_name(extra: dict[str, object]) -> dict[str, object]:
    """Replace `module`, a dotted path with arguments, by `model` and `arguments`, as in the present format."""
    if not isinstance(module := extra.get("module"), dict):
        return extra
    arguments = {name: value for name, value in module.items() if name != "_target_"}
    target = module.get("_target_")
    others = {name: value for name, value in extra.items() if name != "module"}
    return others | {"model": NAMES.get(str(target), target), "arguments": arguments}
