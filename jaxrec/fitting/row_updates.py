"""One step of descent: a cost to be lowered, parameters and an optimizer's state → new ones.

`Dense` moves every parameter, through optax. `RowDescent` moves only the rows that a batch looked up, which is all that
plain SGD and Adagrad would move anyway: a step then costs as much as its batch, however large the tables are.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PyTree

from jaxrec.errors import InputError
from jaxrec.hyper import Traced
from jaxrec.models.model import Params

# parameters → a number to minimize, and a report
Cost = Callable[[PyTree], tuple[Float[Array, ""], PyTree]]
Reduce = Callable[[PyTree], PyTree]
# table, state, ids, gradient of rows → table, state
RowRule = Callable[[Array, PyTree, Array, Array], tuple[Array, PyTree]]


@dataclass(frozen=True)
class Dense:
    """Every parameter, by an optax transformation."""

    transformation: optax.GradientTransformation

    def init(self, params: PyTree) -> PyTree:
        """The optimizer's state at the start."""
        return self.transformation.init(params)

    def step(
        self, cost: Cost, params: PyTree, state: PyTree, reduce: Reduce = lambda sums: sums
    ) -> tuple[PyTree, PyTree, PyTree]:
        """New parameters, new state, and what the cost reports beside its value.

        `reduce` adds up gradients and reports where several devices share a batch.
        """
        gradient, report = reduce(jax.grad(cost, has_aux=True)(params))
        with jax.numpy_dtype_promotion("standard"):  # optax mixes counts with floats
            updates, state = self.transformation.update(gradient, state, params)
        return optax.apply_updates(params, updates), state, report


class _Lookup(NamedTuple):
    """One call of `Table.lookup`: the table's path in the parameters, the ids, and the rows it gave."""

    path: tuple[str, ...]
    ids: Int[Array, "*S"]
    rows: Float[Array, "*S D"] | Float[Array, "*S"]


class RowState(NamedTuple):
    """State of the parameters that are no tables, and of each table by the path of its module."""

    dense: PyTree
    tables: dict[str, PyTree]


@dataclass(frozen=True)
class RowDescent:
    """The rows that were looked up, by `rule`; parameters that are no tables by an optax transformation.

    start: the state that a table of a given number of rows begins with
    An id that occurs several times in a batch moves its row by each in turn.
    """

    rule: RowRule
    start: Callable[[int], PyTree]
    rest: optax.GradientTransformation

    def init(self, params: Params) -> RowState:
        """Every table's state, and that of the other parameters."""
        tables, others = _apart(params)
        return RowState(self.rest.init(others), {path: self.start(len(table)) for path, table in tables.items()})

    def step(
        self, cost: Cost, params: Params, state: RowState, reduce: Reduce = lambda sums: sums
    ) -> tuple[Params, RowState, PyTree]:
        """As `Dense.step`, for batches of one device.

        The cost is traced twice: for the ids, and then as a function of the rows they found.
        """
        looked_up: list[_Lookup] = []

        def note(call: Callable[[Array], Array], ids: Array, path: tuple[str, ...]) -> Array:
            looked_up.append(_Lookup(path, ids, call(ids)))
            return looked_up[-1].rows

        with nn.intercept_methods(_at_tables(note)):
            cost(params)
        tables, others = _apart(params)

        def of_rows(others: Params, rows: list[Array]) -> tuple[Array, PyTree]:
            given = iter(rows)
            with nn.intercept_methods(_at_tables(lambda call, ids, path: next(given))):
                return cost(_together(tables, others))

        gradient, report = jax.grad(of_rows, argnums=(0, 1), has_aux=True)(others, [found.rows for found in looked_up])
        with jax.numpy_dtype_promotion("standard"):
            updates, dense = self.rest.update(gradient[0], state.dense, others)
        states = dict(state.tables)
        for found, of_row in zip(looked_up, gradient[1], strict=True):
            path = "/".join(found.path)
            tables[path], states[path] = self.rule(tables[path], states[path], found.ids, of_row)
        return _together(tables, optax.apply_updates(others, updates)), RowState(dense, states), report


def _at_tables(lookup: Callable[[Callable[[Array], Array], Array, tuple[str, ...]], Array]) -> Callable[..., Any]:
    """An interceptor that puts `lookup(call, ids, path)` in the place of every look-up in a table."""

    def intercept(call: Any, args: Any, kwargs: Any, context: nn.module.InterceptorContext) -> Any:
        if context.method_name == "whole":
            raise InputError(
                f"the objective reads all of {'/'.join(context.module.path)} at each step (a full softmax, or "
                "model.regularization), which optimizers of rows cannot serve: choose optimizer=adam, adagrad or sgd"
            )
        if context.method_name == "lookup":
            return lookup(call, args[0], context.module.path)
        return call(*args, **kwargs)

    return intercept


def _apart(params: Params) -> tuple[dict[str, Array], Params]:
    """Tables by the path of their module, and the parameters without them."""
    tables: dict[str, Array] = {}

    def without(node: Params, path: tuple[str, ...]) -> Params:
        rest: Params = {}
        for name, value in node.items():
            if name == "table":
                tables["/".join(path)] = value
            else:
                rest[name] = without(value, (*path, name)) if isinstance(value, dict) else value
        return rest

    return tables, {"params": without(params["params"], ())}


def _together(tables: dict[str, Array], others: Params) -> Params:
    """What `_apart` took apart."""
    whole = jax.tree.map(lambda x: x, others)
    for path, table in tables.items():
        node = whole["params"]
        for name in path.split("/"):
            node = node.setdefault(name, {})
        node["table"] = table
    return whole


def sgd_rule(learning_rate: float | Traced) -> RowRule:
    """row - learning_rate * gradient."""

    def rule(table: Array, state: PyTree, ids: Array, gradient: Array) -> tuple[Array, PyTree]:
        return table.at[ids].add(-learning_rate * gradient), state

    return rule


def adagrad_rule(learning_rate: float | Traced, eps: float) -> RowRule:
    """row - learning_rate * gradient / (sqrt(a) + eps), a being the sum of a row's mean squared gradients."""

    def rule(table: Array, state: Array, ids: Array, gradient: Array) -> tuple[Array, Array]:
        mean_square = jnp.square(gradient) if table.ndim == 1 else jnp.mean(jnp.square(gradient), axis=-1)
        state = state.at[ids].add(mean_square)
        rate = learning_rate / (jnp.sqrt(state[ids]) + eps)
        return table.at[ids].add(-(rate if table.ndim == 1 else rate[..., None]) * gradient), state

    return rule
