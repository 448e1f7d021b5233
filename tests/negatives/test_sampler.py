"""The base class of samplers: methods that a user-defined sampler may omit."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrec import settings
from jaxrec.data.interactions import Interactions
from jaxrec.errors import InputError
from jaxrec.fitting.objective import SampledObjective
from jaxrec.losses import bpr
from jaxrec.negatives.candidates import Negatives, SamplerContext
from jaxrec.negatives.mixed import Mixed
from jaxrec.negatives.sampler import Sampler
from jaxrec.negatives.uniform import Uniform
from jaxrec.random import stream

TRAIN = Interactions(np.zeros(2, np.int32), np.arange(2, dtype=np.int32), None, None, None, np.arange(1), np.arange(4))


@dataclass(frozen=True)
class Last(Sampler):
    """Sampler of the last item of the catalog."""

    exclude_known: bool = False

    def __call__(self, source, examples, n_items, n_negatives, context=None):
        return Negatives.first(jnp.full((len(examples), self.ratio), n_items - 1), n_negatives)


class Mixable(Last):
    mixes = True


def test_a_sampler_needs_no_tables():
    examples, n = SampledObjective(bpr, Last(2)).examples(TRAIN)
    assert (examples.tables, n) == (None, 2)


def test_only_declared_samplers_are_mixed_and_without_probabilities_there_is_no_correction():
    with pytest.raises(InputError, match="needs samplers that draw per example"):
        Mixed(first=Last(), second=Uniform())
    mixed = Mixed(first=Mixable(), second=Uniform(), share=1.0, ratio=3)
    tables = mixed.prepare(TRAIN)
    given = SamplerContext(tables, jnp.zeros(2, jnp.int32), jnp.arange(2), lambda items: items)
    drawn = mixed(stream(jax.random.key(0)), jnp.arange(2), 4, jnp.int32(3), given)
    np.testing.assert_array_equal(drawn.items, np.full((2, 3), 3))
    assert drawn.log_q is None


def test_a_class_that_is_not_a_sampler_is_refused_before_data_is_read(compose):
    tree = compose("loss=bpr")
    tree["negatives"] = {"_target_": "jaxrec.hyper.Hyper"}
    with pytest.raises(InputError, match=r"negatives\._target_: jaxrec\.hyper\.Hyper does not derive from .*Sampler"):
        settings.check(tree)
