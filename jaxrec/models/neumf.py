"""Neural matrix factorization: score(u, i) = h . [p_u * q_i; a_L(... a_1([p'_u; q'_i]))] + b.

GMF and MLP with separate embeddings under a common output layer.   [He et al. 2017, Neural collaborative
filtering, section 3.4]
"""

from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from pydantic import NonNegativeFloat, PositiveInt

from jaxrec import checkpoint
from jaxrec.data.interactions import Interactions
from jaxrec.errors import InputError
from jaxrec.hyper import Traced
from jaxrec.models.embedding import Embedding
from jaxrec.models.gmf import GMF
from jaxrec.models.mlp import MLP, Tower, tower_layers
from jaxrec.models.model import Model, Pairwise, Params
from jaxrec.query import Query


class NeuMF(Pairwise):
    """The sum of a GMF and an MLP score (an output layer over a concatenation is a sum).

    Attributes:
        n_users, n_items: numbers of users and items
        embedding_dim: embedding dimension of GMF
        mlp_embedding_dim: embedding dimension of MLP; None: the same as GMF
        layers: hidden units of MLP; None: 2, 1 and 1/2 times its embedding dimension
        shared: share embeddings between GMF and MLP, which must then have the same dimension
        gmf_run, mlp_run: run directories of pretrained GMF and MLP models on the same data; None: random
            initialization. Use runs without refit, whose parameters have not seen the validation data
        alpha: weight of GMF in the pretrained output layer; MLP has weight 1 - alpha
        regularization: L2 penalty on the embedding vectors that a batch uses
        init_std: root-mean-square norm of an initial embedding vector

    Fidelity: the paper's model, including pretraining. After pretraining the authors continue with plain SGD, which is
    `optimizer=sgd`. Initialization is as in `GMF` and `MLP`; as in MLP, there is no `width`.
    """

    n_users: int
    n_items: int
    embedding_dim: PositiveInt = 32
    mlp_embedding_dim: PositiveInt | None = None
    layers: tuple[PositiveInt, ...] | None = None
    shared: bool = False
    gmf_run: str | None = None
    mlp_run: str | None = None
    alpha: NonNegativeFloat = 0.5
    regularization: NonNegativeFloat | Traced = 0.0
    init_std: NonNegativeFloat = 0.1

    @property
    def _mlp_dim(self) -> int:
        return self.mlp_embedding_dim or self.embedding_dim

    @property
    def pair_floats(self) -> int:
        """Floats allocated per user-item pair during scoring."""
        return sum(tower_layers(self._mlp_dim, self.layers))

    def setup(self) -> None:
        if self.shared and self._mlp_dim != self.embedding_dim:
            raise InputError(
                f"model.shared=true needs equal embedding dimensions, got model.embedding_dim={self.embedding_dim} and "
                f"model.mlp_embedding_dim={self._mlp_dim}: leave model.mlp_embedding_dim null"
            )
        self.gmf_user = Embedding(self.n_users, self.embedding_dim, std=self.init_std)
        self.gmf_item = Embedding(self.n_items, self.embedding_dim, std=self.init_std)
        if not self.shared:
            self.mlp_user = Embedding(self.n_users, self._mlp_dim, std=self.init_std)
            self.mlp_item = Embedding(self.n_items, self._mlp_dim, std=self.init_std)
        self.tower = Tower(self._mlp_dim, tower_layers(self._mlp_dim, self.layers))
        self.output = Embedding(1, self.embedding_dim, std=1.0)  # GMF's part of h; MLP's is the tower's
        self.bias = self.param("bias", nn.initializers.zeros, (1,))

    def __call__(self, query: Query, items: Int[Array, "B N"]) -> Float[Array, "B N"]:
        """Scores of each query's own candidates."""
        weighted, user_part = self._user_parts(query)
        q, q_mlp = self.gmf_item(items), (self.gmf_item if self.shared else self.mlp_item)(items)
        mlp = self.tower(user_part, self.tower.item_part(q_mlp))
        return jnp.einsum("bd,bnd->bn", weighted, q) + mlp + self.bias[:, None]

    def item_parts(self) -> tuple[Float[Array, "D I"], Float[Array, "H I"]]:
        """GMF item vectors, and the item part of MLP's first layer, for the whole catalog."""
        q_mlp = (self.gmf_item if self.shared else self.mlp_item).whole()
        return self.gmf_item.whole().T, self.tower.item_part(q_mlp).T

    def score_parts(self, query: Query, parts: tuple[Float[Array, "D N"], Float[Array, "H N"]]) -> Float[Array, "B N"]:
        """Scores of the items in `parts`, which holds all or some columns of `item_parts`."""
        weighted, user_part = self._user_parts(query)
        q, item_part = parts
        return weighted @ q + self.tower.every(user_part, item_part) + self.bias[:, None]

    def penalty(self, query: Query) -> tuple[Float[Array, "B"], Float[Array, "I"]]:
        """L2 penalty of each user and item per occurrence in a batch: regularization * squared norm."""
        p, q = self.gmf_user.squared_lengths(), self.gmf_item.squared_lengths()
        if not self.shared:
            p, q = p + self.mlp_user.squared_lengths(), q + self.mlp_item.squared_lengths()
        return self.regularization * p[query.user], self.regularization * q

    def pretrained(self, fresh: Params, train: Interactions) -> Params:
        """The parameters of the two pretrained runs for every member [P, ...]; `fresh` if no runs are named."""
        if self.gmf_run is None and self.mlp_run is None:
            return fresh
        if self.gmf_run is None or self.mlp_run is None or self.shared:
            raise InputError(
                "pretraining needs both model.gmf_run and model.mlp_run, and model.shared=false; got "
                f"model.gmf_run={self.gmf_run}, model.mlp_run={self.mlp_run} and model.shared={self.shared}"
            )
        gmf = _parameters(self.gmf_run, "model.gmf_run", GMF, train)
        mlp = _parameters(self.mlp_run, "model.mlp_run", MLP, train)
        beta = 1 - self.alpha
        pretrained = {
            "gmf_user": gmf["user_embedding"],
            "gmf_item": gmf["item_embedding"],
            "mlp_user": mlp["user_embedding"],
            "mlp_item": mlp["item_embedding"],
            "output": jax.tree.map(lambda h: self.alpha * h, gmf["output"]),
            "tower": mlp["tower"] | {"output": jax.tree.map(lambda h: beta * h, mlp["tower"]["output"])},
            "bias": self.alpha * gmf["bias"] + beta * mlp["bias"],
        }
        expected = {name: fresh["params"][name] for name in pretrained}  # a loss may add parameters of its own
        sizes, own = (_sizes(tree, skip) for tree, skip in ((pretrained, 0), (expected, 1)))
        if sizes != own:
            name = next(name for name in sorted(own.keys() | sizes.keys()) if own.get(name) != sizes.get(name))
            raise InputError(
                f"model.gmf_run and model.mlp_run: {name} has shape {sizes.get(name)} in the runs, {own.get(name)} in "
                "this model; use the same embedding_dim and layers in all three"
            )
        pretrained = jax.tree.map(lambda x, like: np.broadcast_to(x, like.shape), pretrained, expected)
        return {"params": fresh["params"] | pretrained}

    def _user_parts(self, query: Query) -> tuple[Float[Array, "B D"], Float[Array, "B H"]]:
        """h * p_u, and the user part of MLP's first layer."""
        p = self.gmf_user(query.user)
        p_mlp = p if self.shared else self.mlp_user(query.user)
        return self.output.lookup(jnp.zeros(1, jnp.int32)) * p, self.tower.user_part(p_mlp)


def _parameters(run: str, key: str, kind: type[Model], train: Interactions) -> Params:
    """The parameters in a run directory, checked to be of this model class and for these users and items."""
    params, extra = checkpoint.load(Path(run) / "model")
    if (kind_of_run := extra.get("model")) != (name := kind.__name__.lower()):
        raise InputError(f"{key}={run} is a run of model={kind_of_run}; name a run of model={name}")
    if not all(np.array_equal(extra[ids], getattr(train, ids)) for ids in ("user_ids", "item_ids")):
        raise InputError(f"{key}={run} was trained on other users or items than this data: train it on the same data")
    return params["params"]


def _sizes(params: Params, skipped: int) -> dict[str, tuple[int, ...]]:
    """Name and shape of every parameter, without its first `skipped` axes."""
    leaves = jax.tree_util.tree_leaves_with_path(params)
    return {jax.tree_util.keystr(path, simple=True, separator="."): np.shape(x)[skipped:] for path, x in leaves}
