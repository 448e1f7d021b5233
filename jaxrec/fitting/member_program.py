"""Program of a member, which `Slots` compiles: initialization, one epoch, and validation."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Array, Bool, PyTree

from jaxrec.fitting.mining import Miner
from jaxrec.hyper import Hyper
from jaxrec.models.model import Params

# (parameters [S, ...], hyperparameters [S], slots to validate [S]) → each metric [S]; other slots are ignored
Validate = Callable[[Params, Hyper, Bool[np.ndarray, "S"]], Mapping[str, np.ndarray | Array]]


class MemberProgram(NamedTuple):
    """Functions that train one member; `Slots` compiles them for all slots, once per process, see `jaxrec.programs`.

    Attributes:
        shared: device data that all members read
        start: (shared, key, hyper) → initial state, which has a field `params`
        epoch: (shared, state, hyper, active) → state after one epoch, and its loss; unchanged and NaN if not active
        loaded: replaces randomly initialized parameters [S, ...] by stored ones
        miner: miner of hard negatives, for samplers that use them; the state then has a field `mined`
    """

    shared: PyTree
    start: Callable[..., PyTree]
    epoch: Callable[..., tuple[PyTree, Array]]
    loaded: Callable[[Params], Params] = lambda params: params
    miner: Miner | None = None
