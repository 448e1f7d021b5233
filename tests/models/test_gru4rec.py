"""GRU4Rec's initial weights; its cells are compared with references in `test_sequence_model`."""

from collections.abc import Iterator

import flax.linen as nn
import jax
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr

from jaxrec.models.gru4rec import orthogonal

INNER = (Jaxpr, ClosedJaxpr)
KEYS = jax.random.split(jax.random.key(0), 3)


def vmapped(keys: jax.Array) -> jax.Array:
    return jax.vmap(lambda key: orthogonal(key, (4, 8)))(keys)


def calls(jaxpr: Jaxpr) -> Iterator[tuple[str, int]]:
    """Yield the names of all primitives, also in loops and branches, and the rank of their first operand."""
    for equation in jaxpr.eqns:
        yield equation.primitive.name, len(getattr(equation.invars[0].aval, "shape", ())) if equation.invars else 0
        for part in jax.tree.leaves(
            list(equation.params.values()), is_leaf=lambda x: isinstance(x, Jaxpr | ClosedJaxpr)
        ):
            if isinstance(part, Jaxpr | ClosedJaxpr):
                yield from calls(part.jaxpr if isinstance(part, ClosedJaxpr) else part)


def test_members_have_the_orthogonal_matrices_of_their_keys():
    found = np.asarray(jax.jit(vmapped)(KEYS))
    np.testing.assert_array_equal(found, [nn.initializers.orthogonal()(key, (4, 8)) for key in KEYS])
    np.testing.assert_allclose(found @ found.swapaxes(1, 2), np.stack([np.eye(4)] * 3), atol=1e-6)


def test_lapack_calls_are_not_batched():
    """A batched call would wait forever for a thread if there are as many devices as cores."""
    decompositions = [axes for name, axes in calls(jax.make_jaxpr(vmapped)(KEYS).jaxpr) if name in ("qr", "geqrf")]
    assert decompositions
    assert set(decompositions) == {2}
