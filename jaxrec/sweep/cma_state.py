"""CMA-ES sampler whose state in a study cannot execute code: Optuna stores it pickled."""

import io
import pickle
from collections.abc import Sequence
from typing import Any

from optuna.samplers import CmaEsSampler
from optuna.trial import FrozenTrial

from jaxrec.errors import InputError

# What the state consists of; numpy moved its functions between versions, and Python 3.14 pickles arrays as buffers.
ALLOWED = {
    ("cmaes._cma", "CMA"),
    ("numpy", "dtype"),
    ("numpy", "ndarray"),
    *((f"numpy.{core}.multiarray", name) for core in ("core", "_core") for name in ("scalar", "_reconstruct")),
    *((f"numpy.{core}.numeric", "_frombuffer") for core in ("core", "_core")),
}


class CmaEs(CmaEsSampler):
    """Optuna's CMA-ES sampler; a stored state that holds anything but numbers is refused."""

    def _restore_optimizer(self, completed_trials: Sequence[FrozenTrial]) -> Any:
        for trial in reversed(completed_trials):
            parts = {k: v for k, v in trial.system_attrs.items() if k.startswith(self._attr_key_optimizer)}
            if parts:
                return _Numbers(io.BytesIO(bytes.fromhex(self._concat_optimizer_attrs(parts)))).load()
        return None


class _Numbers(pickle.Unpickler):
    """Unpickler of numbers, arrays and the CMA-ES state."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ALLOWED:
            raise InputError(f"the state of CMA-ES in this study holds {module}.{name}: another program changed it")
        return super().find_class(module, name)
