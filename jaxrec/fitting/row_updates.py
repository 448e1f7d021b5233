"""Optimizer steps: dense updates through optax, and row updates that touch only the rows used by a batch.

`Dense` updates every parameter. `RowDescent` updates only the rows that a batch looked up, which are the only rows
that plain SGD and Adagrad change anyway: the cost of a step depends on the batch, not on the size of the tables.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PyTree

from jaxrec.errors import InputError
from jaxrec.hyper import Traced
from jaxrec.mesh import is_per_example, sum_over_batch, whole_batch
from jaxrec.models.model import Params

# parameters → a scalar to minimize, and auxiliary output
Cost = Callable[[PyTree], tuple[Float[Array, ""], PyTree]]
Passed = Callable[[], Float[Array, ""]]
# (table, state, ids, gradient of rows) → table, state
RowRule = Callable[[Array, PyTree, Array, Array], tuple[Array, PyTree]]


@dataclass(frozen=True)
class Dense:
    """Updates every parameter by an optax transformation.

    Attributes:
        transformation: the transformation
        rate: factor of the learning rate as a function of the number of epochs trained; None: 1
    """

    transformation: optax.GradientTransformation
    rate: Callable[[Float[Array, ""]], Float[Array, ""]] | None = None

    def init(self, params: PyTree) -> PyTree:
        """Initial state of the optimizer."""
        return self.transformation.init(params)

    def step(
        self,
        cost: Cost,
        params: PyTree,
        state: PyTree,
        passed: Passed = lambda: jnp.float32(0),
    ) -> tuple[PyTree, PyTree, PyTree]:
        """New parameters, new state, and the auxiliary output of `cost`, summed over devices that share a batch.

        Args:
            cost: the cost to minimize.
            params: parameters.
            state: state of the optimizer.
            passed: returns the number of epochs trained, for `rate`.
        """
        gradient, report = sum_over_batch(jax.grad(cost, has_aux=True)(params))
        with jax.numpy_dtype_promotion("standard"):  # optax mixes counts with floats
            updates, state = self.transformation.update(gradient, state, params)
        if self.rate is not None:
            factor = self.rate(passed())
            updates = jax.tree.map(lambda update: factor * update, updates)
        return optax.apply_updates(params, updates), state, report


class AverageState(NamedTuple):
    """State of `Averaged`: the parameters that are trained, the number of steps, and the state of the optimizer."""

    trained: PyTree
    n_steps: Int[Array, ""]
    inner: PyTree


@dataclass(frozen=True)
class Averaged:
    """Exponential moving average of the parameters that another optimizer trains: a = d a + (1 - d) p in each step.

    The average is what is validated and kept; the trained parameters are part of the state. d is `decay`, but at most
    (1 + t) / (10 + t) in step t, so that the random start is forgotten.   [Polyak and Juditsky 1992]
    """

    inner: Dense
    decay: float | Traced

    def init(self, params: PyTree) -> AverageState:
        """Initial state."""
        return AverageState(params, jnp.int32(0), self.inner.init(params))

    def step(
        self,
        cost: Cost,
        params: PyTree,
        state: AverageState,
        passed: Passed = lambda: jnp.float32(0),
    ) -> tuple[PyTree, AverageState, PyTree]:
        """Like `Dense.step`; `params` and the result are averages."""
        # Stored parameters of a pretrained model replace the random ones after `init`.
        trained = jax.tree.map(lambda a, p: jnp.where(state.n_steps == 0, a, p), params, state.trained)
        trained, inner, report = self.inner.step(cost, trained, state.inner, passed)
        t = state.n_steps.astype(jnp.float32)
        decay = jnp.minimum(jnp.asarray(self.decay, jnp.float32), (1 + t) / (10 + t))
        average = jax.tree.map(lambda a, p: decay * a + (1 - decay) * p, params, trained)
        return average, AverageState(trained, state.n_steps + 1, inner), report


class _Lookup(NamedTuple):
    """One call of `lookup`: the table's path in the parameters, the ids, and the returned rows.

    Attributes:
        is_per_example: whether each example has ids of its own; else all examples use the same rows
    """

    path: tuple[str, ...]
    ids: Int[Array, "*S"]
    rows: Float[Array, "*S D"] | Float[Array, "*S"]
    is_per_example: bool


class RowState(NamedTuple):
    """Optimizer state of the non-table parameters, and of each table by the path of its module."""

    dense: PyTree
    tables: dict[str, PyTree]


@dataclass(frozen=True)
class RowDescent:
    """Updates the rows that were looked up by `rule`, and non-table parameters by an optax transformation.

    An id that occurs several times in a batch accumulates all of its updates.

    Attributes:
        rule: update rule of rows
        start: initial state of a table, as a function of its number of rows
        rest: optax transformation of the other parameters
    """

    rule: RowRule
    start: Callable[[int], PyTree]
    rest: optax.GradientTransformation

    def init(self, params: Params) -> RowState:
        """Initial state of the tables and of the other parameters."""
        tables, others = _apart(params)
        return RowState(self.rest.init(others), {path: self.start(len(table)) for path, table in tables.items()})

    def step(
        self,
        cost: Cost,
        params: Params,
        state: RowState,
        passed: Passed = lambda: jnp.float32(0),
    ) -> tuple[Params, RowState, PyTree]:
        """Like `Dense.step`.

        The cost is traced twice: to record the ids, and then as a function of the rows at these ids. Devices that
        share a batch exchange ids and gradients of rows, never tables.
        """
        lookups: list[_Lookup] = []

        def record(call: Callable[[Array], Array], ids: Array, path: tuple[str, ...]) -> Array:
            lookups.append(_Lookup(path, ids, call(ids), is_per_example(ids)))
            return lookups[-1].rows

        with nn.intercept_methods(_at_tables(record)):
            cost(params)
        tables, others = _apart(params)

        def of_rows(others: Params, rows: list[Array]) -> tuple[Array, PyTree]:
            next_rows = iter(rows)
            with nn.intercept_methods(_at_tables(lambda call, ids, path: next(next_rows))):
                return cost(_together(tables, others))

        gradient, report = jax.grad(of_rows, argnums=(0, 1), has_aux=True)(others, [lookup.rows for lookup in lookups])
        of_others, report = sum_over_batch((gradient[0], report))
        with jax.numpy_dtype_promotion("standard"):
            updates, dense = self.rest.update(of_others, state.dense, others)
        states = dict(state.tables)
        for lookup, of_rows_gradient in zip(lookups, gradient[1], strict=True):
            path = "/".join(lookup.path)
            if lookup.is_per_example:
                ids, of_ids = whole_batch(lookup.ids), whole_batch(of_rows_gradient)
            else:
                ids, of_ids = lookup.ids, sum_over_batch(of_rows_gradient)
            tables[path], states[path] = self.rule(tables[path], states[path], ids, of_ids)
        return _together(tables, optax.apply_updates(others, updates)), RowState(dense, states), report


def unscaled(optimizer: Dense | Averaged | RowDescent, scale: float) -> Dense | Averaged | RowDescent:
    """An optimizer for the gradients of `scale` times the cost: it divides them before it clips or uses them."""
    if isinstance(optimizer, Averaged):
        inner = unscaled(optimizer.inner, scale)
        assert isinstance(inner, Dense)
        return replace(optimizer, inner=inner)
    if isinstance(optimizer, Dense):
        return replace(optimizer, transformation=optax.chain(optax.scale(1 / scale), optimizer.transformation))

    def rule(table: Array, state: PyTree, ids: Array, gradient: Array) -> tuple[Array, PyTree]:
        return optimizer.rule(table, state, ids, gradient / scale)

    return replace(optimizer, rule=rule, rest=optax.chain(optax.scale(1 / scale), optimizer.rest))


def _at_tables(lookup: Callable[[Callable[[Array], Array], Array, tuple[str, ...]], Array]) -> Callable[..., Any]:
    """Flax method interceptor that replaces every table look-up by `lookup(call, ids, path)`."""

    def intercept(call: Any, args: Any, kwargs: Any, context: nn.module.InterceptorContext) -> Any:
        if context.method_name == "whole":
            raise InputError(
                f"the objective reads the whole table {'/'.join(context.module.path)} in each step (full softmax, "
                "model.regularization, or a graph), which row optimizers do not support: choose optimizer=adam, "
                "adagrad or sgd"
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
    """Inverse of `_apart`."""
    whole = jax.tree.map(lambda x: x, others)
    for path, table in tables.items():
        node = whole["params"]
        for name in path.split("/"):
            node = node.setdefault(name, {})
        node["table"] = table
    return whole


def sgd_rule(learning_rate: float | Traced) -> RowRule:
    """SGD rule: row - learning_rate * gradient."""

    def rule(table: Array, state: PyTree, ids: Array, gradient: Array) -> tuple[Array, PyTree]:
        return table.at[ids].add(-learning_rate * gradient), state

    return rule


def adagrad_rule(learning_rate: float | Traced, eps: float) -> RowRule:
    """Row-wise Adagrad: row - learning_rate * gradient / (sqrt(a) + eps), a the row's sum of mean squared gradients."""

    def rule(table: Array, state: Array, ids: Array, gradient: Array) -> tuple[Array, Array]:
        mean_square = jnp.square(gradient) if table.ndim == 1 else jnp.mean(jnp.square(gradient), axis=-1)
        state = state.at[ids].add(mean_square)
        rate = learning_rate / (jnp.sqrt(state[ids]) + eps)
        return table.at[ids].add(-(rate if table.ndim == 1 else rate[..., None]) * gradient), state

    return rule
