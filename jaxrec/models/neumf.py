"""Neural matrix factorization: score(u, i) = h . [p_u * q_i; a_L(... a_1([p'_u; q'_i]))] + b.

GMF and MLP side by side, with vectors of their own, under one output layer.   [He et al. 2017, Neural collaborative
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
    """The sum of what GMF and what MLP say: an output layer over a concatenation is a sum.

    n_users, n_items:   sizes of the tables
    embedding_dim:      columns of the vectors of GMF
    mlp_embedding_dim:  columns of each vector of MLP; None: the same number
    layers:             units of MLP's hidden layers; None: 2, 1 and 1/2 times its embedding_dim
    shared:             one vector a user and item serves both parts, which must then be as wide
    gmf_run, mlp_run:   run directories of a GMF and an MLP on the same data to start from; None: a fresh start. Use
                        runs without refit, whose parameters have not seen the validation data
    alpha:              weight of GMF against MLP in the output layer that they start with
    regularization:     L2 penalty on the vectors that a batch touches
    init_std:           standard deviation of a fresh vector's length

    Fidelity: the paper's model, pretraining included. After pretraining the authors go on with plain SGD, which is
    `optimizer=sgd`. What starts how is as in `GMF` and `MLP`; like MLP, there is no `width`.
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
        """Numbers that a pair of user and item takes while it is scored."""
        return sum(tower_layers(self._mlp_dim, self.layers))

    def setup(self) -> None:
        if self.shared and self._mlp_dim != self.embedding_dim:
            raise InputError(
                f"model.shared=true needs vectors of one width, got model.embedding_dim={self.embedding_dim} and "
                f"model.mlp_embedding_dim={self._mlp_dim}: leave the latter null"
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
        """GMF's vector of each item, and what MLP's first layer makes of the other."""
        q_mlp = (self.gmf_item if self.shared else self.mlp_item).whole()
        return self.gmf_item.whole().T, self.tower.item_part(q_mlp).T

    def score_parts(self, query: Query, parts: tuple[Float[Array, "D N"], Float[Array, "H N"]]) -> Float[Array, "B N"]:
        """Scores of all items of `item_parts`, or of the columns given of it."""
        weighted, user_part = self._user_parts(query)
        q, item_part = parts
        return weighted @ q + self.tower.every(user_part, item_part) + self.bias[:, None]

    def penalty(self, query: Query) -> tuple[Float[Array, "B"], Float[Array, "I"]]:
        """What a user and what an item adds to the loss each time it is seen: regularization times squared length."""
        p, q = self.gmf_user.squared_lengths(), self.gmf_item.squared_lengths()
        if not self.shared:
            p, q = p + self.mlp_user.squared_lengths(), q + self.mlp_item.squared_lengths()
        return self.regularization * p[query.user], self.regularization * q

    def pretrained(self, fresh: Params, train: Interactions) -> Params:
        """Fresh parameters [P, ...] → those of the two runs, for every member; `fresh` where no runs are named."""
        if self.gmf_run is None and self.mlp_run is None:
            return fresh
        if self.gmf_run is None or self.mlp_run is None or self.shared:
            raise InputError(
                "pretraining takes model.gmf_run and model.mlp_run, both, and model.shared=false; with "
                f"model.gmf_run={self.gmf_run}, model.mlp_run={self.mlp_run} and model.shared={self.shared} it cannot"
            )
        gmf = _parameters(self.gmf_run, "model.gmf_run", GMF, train)
        mlp = _parameters(self.mlp_run, "model.mlp_run", MLP, train)
        beta = 1 - self.alpha
        started = {
            "gmf_user": gmf["user_embedding"],
            "gmf_item": gmf["item_embedding"],
            "mlp_user": mlp["user_embedding"],
            "mlp_item": mlp["item_embedding"],
            "output": jax.tree.map(lambda h: self.alpha * h, gmf["output"]),
            "tower": mlp["tower"] | {"output": jax.tree.map(lambda h: beta * h, mlp["tower"]["output"])},
            "bias": self.alpha * gmf["bias"] + beta * mlp["bias"],
        }
        asked = {name: fresh["params"][name] for name in started}  # a loss may have parameters of its own beside them
        sizes, own = (_sizes(tree, skip) for tree, skip in ((started, 0), (asked, 1)))
        if sizes != own:
            name = next(name for name in sorted(own.keys() | sizes.keys()) if own.get(name) != sizes.get(name))
            raise InputError(
                f"model.gmf_run and model.mlp_run: {name} has shape {sizes.get(name)} there, {own.get(name)} in this "
                "model; give all three the same embedding_dim and layers"
            )
        started = jax.tree.map(lambda x, like: np.broadcast_to(x, like.shape), started, asked)
        return {"params": fresh["params"] | started}

    def _user_parts(self, query: Query) -> tuple[Float[Array, "B D"], Float[Array, "B H"]]:
        """h * p_u, and what MLP's first layer makes of the user."""
        p = self.gmf_user(query.user)
        p_mlp = p if self.shared else self.mlp_user(query.user)
        return self.output.lookup(jnp.zeros(1, jnp.int32)) * p, self.tower.user_part(p_mlp)


def _parameters(run: str, key: str, kind: type[Model], train: Interactions) -> Params:
    """The parameters of a run directory, which must be of this kind of model, for these users and items."""
    params, extra = checkpoint.load(Path(run) / "model")
    if (found := extra.get("model")) != (name := kind.__name__.lower()):
        raise InputError(f"{key}={run} is a run of model={found}; name a run of model={name}")
    if not all(np.array_equal(extra[ids], getattr(train, ids)) for ids in ("user_ids", "item_ids")):
        raise InputError(f"{key}={run} knows other users or items than this data has; train it on the same data")
    return params["params"]


def _sizes(params: Params, skipped: int) -> dict[str, tuple[int, ...]]:
    """Name and shape of every parameter, but for its first axes."""
    leaves = jax.tree_util.tree_leaves_with_path(params)
    return {jax.tree_util.keystr(path, simple=True, separator="."): np.shape(x)[skipped:] for path, x in leaves}
