"""What slots compile: how one member is trained, and how members are validated."""

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
    """How one member is trained; `Slots` compiles it for all slots, once per process, see `jaxrec.programs`.

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
