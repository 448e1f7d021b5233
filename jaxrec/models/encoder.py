"""Base class of the built-in sequence models: one table of items, optional inputs, and a choice of heads."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int
from pydantic import NonNegativeFloat, PositiveInt

from jaxrec.models.dropout import Noise
from jaxrec.models.embedding import Embedding
from jaxrec.models.sequence import Context, SequenceModel


class Encoder(SequenceModel):
    """Encoder whose input and output items share one table. A family defines `hidden`, and the layers in `setup`.

    Attributes:
        embedding_dim: dimension of item vectors and hidden states
        init_std: root-mean-square norm of an initial item vector
    """

    embedding_dim: PositiveInt = 64
    init_std: NonNegativeFloat = 0.5
    has_inputs = True
    has_head = True

    def setup(self) -> None:
        self.inputs = self.input_layer(self.embedding_dim, self.init_std)
        self.head = self.head_layer(self.embedding_dim)
        self.item_embedding = Embedding(self.n_tokens, self.embedding_dim, std=self.init_std)
        if self.has_item_bias:
            self.item_bias = self.param("item_bias", nn.initializers.zeros, (self.n_items,))

    @property
    def n_tokens(self) -> int:
        """Rows of the item table: the items, and after them special tokens."""
        return self.n_items

    def hidden(self, items: Int[Array, "B T"], noise: Noise | None, context: Context | None) -> Float[Array, "B T D"]:
        """Hidden state at every position; see `SequenceModel.encode`."""
        raise self._lacks("hidden(items, noise, context)")

    def encode(
        self, items: Int[Array, "B T"], noise: Noise | None = None, context: Context | None = None
    ) -> Float[Array, "B T D2"]:
        """Hidden states as query vectors, with a 1 appended for the item bias, if there is one."""
        queries = self.as_queries(self.hidden(items, noise, context))
        return jnp.concatenate([queries, jnp.ones_like(queries[:, :, :1])], axis=2) if self.has_item_bias else queries

    def item_vectors(self, noise: Noise | None = None) -> Float[Array, "I D2"]:
        """e_i, or (e_i, b_i), of the whole catalog."""
        vectors = self.as_items(self.catalog(noise)[: self.n_items])
        return jnp.concatenate([vectors, self.item_bias[:, None]], axis=1) if self.has_item_bias else vectors
