"""Every re-ranker lowers for every accelerator, with traced strengths and any batch size."""

from functools import partial

import jax
import jax.numpy as jnp
import pytest

from jaxrec.rerank.diversity import dpp, mmr
from jaxrec.rerank.fairness import calibrated, within_band
from jaxrec.rerank.freshness import freshened
from jaxrec.rerank.rules import allowed, capped

C, D, K = 12, 4, 5
NUMBER, SCORES = "", "b,12"
PROGRAMS = {
    "mmr": (partial(mmr, k=K), SCORES, "b,12,4", NUMBER),
    "dpp": (partial(dpp, k=K), SCORES, "b,12,4", NUMBER),
    "freshened": (freshened, SCORES, SCORES, NUMBER, NUMBER),
    "within_band": (partial(within_band, k=K), SCORES, "int b,12", "3", NUMBER),
    "calibrated": (partial(calibrated, k=K), SCORES, "b,12,3", "b,3", NUMBER),
    "allowed": (allowed, SCORES, "bool b,12"),
    "capped": (capped, "bool b,12", "bool b,12,3", "int "),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_lowers_for_cuda_and_tpu(name):
    function, *given = PROGRAMS[name]
    kinds = {"int": jnp.int32, "bool": jnp.bool_}
    scope = jax.export.SymbolicScope()

    def argument(text):
        kind, _, shape = text.rpartition(" ") if " " in text else ("", "", text)
        return jax.ShapeDtypeStruct(jax.export.symbolic_shape(shape, scope=scope), kinds.get(kind, jnp.float32))

    exported = jax.export.export(jax.jit(function), platforms=["cuda", "tpu"])(*map(argument, given))
    assert exported.platforms == ("cuda", "tpu")
