"""Gradient-based training: one epoch of a whole population is one device program."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree
from pydantic import PositiveFloat, PositiveInt

from jaxrec import backend
from jaxrec.data.interactions import Interactions
from jaxrec.data.large_columns import release
from jaxrec.errors import InputError
from jaxrec.features import tables, with_tables
from jaxrec.fitting.epochs import EpochLoop, Fit, OnEpoch, fresh
from jaxrec.fitting.member_program import MemberProgram, Validate
from jaxrec.fitting.mining import Miner, mining_sampler, nothing_mined
from jaxrec.fitting.objective import EpochStart, Objective
from jaxrec.fitting.permutation import shuffled
from jaxrec.fitting.population import Members, Placement, Population, place
from jaxrec.fitting.row_updates import Averaged, Dense, RowDescent, unscaled
from jaxrec.fitting.saved_slots import SavedSlots
from jaxrec.hyper import Hyper, with_hyper, with_numbers, zeroed
from jaxrec.mesh import MeshSize, batch_shared_by, check_batch, padded, places_in_batch, rows_over, sum_over_batch
from jaxrec.models.model import Model, Params, Prepared
from jaxrec.random import RandomStream, stream, substream

Precision = Literal["float32", "bfloat16"]
PRODUCTS = {"float32": None, "bfloat16": "BF16_BF16_F32"}  # names of `jax.default_matmul_precision`


class State(NamedTuple):
    """Training state of a member.

    Attributes:
        params: parameters that score: those that are validated and kept
        optimizer: state of the optimizer
        source: random stream
        epoch: number of epochs trained
        mined: mined hard negatives, for samplers that use them; see `fitting.mining`
        trained: parameters that steps update; None: `params`
    """

    params: Params
    optimizer: PyTree
    source: RandomStream
    epoch: Int[Array, ""]
    mined: Array | None = None
    trained: Params | None = None


@dataclass(frozen=True)
class GradientFit(EpochLoop):
    """Trains for up to `epochs` and keeps the parameters of each member's best validation; see `EpochLoop`.

    Attributes:
        objective: objective that a step minimizes
        optimizer: optimizer of a step
        batch_size: examples per step (interactions; users for `loss=softmax`)
        members: run members of one device by `vmap` or `sequential`; `auto` decides by backend
        precision: of the factors of matrix products on accelerators: `float32` is JAX's default there (TF32, on TPUs
            bfloat16 passes), `bfloat16` rounds them. Sums, parameters and optimizer state are float32 in both
        loss_scale: factor of the loss in the backward pass, by which gradients are divided before they are clipped
        mesh: devices over which members, batches and rows of tables are split
    """

    objective: Objective
    optimizer: Callable[..., Dense | Averaged | RowDescent]
    batch_size: PositiveInt = 2048
    members: Members = "auto"
    precision: Precision = "float32"
    loss_scale: PositiveFloat = 1.0
    mesh: MeshSize = MeshSize()  # noqa: RUF009

    def __post_init__(self) -> None:
        check_batch(self.batch_size, self.mesh.batch)

    def __call__(
        self,
        model: Model,
        train: Interactions,
        population: Population,
        validate: Validate | None = None,
        on_epoch: OnEpoch = lambda epoch, rows: None,
        epochs: Sequence[int] | None = None,
        saved: SavedSlots | None = None,
        n_slots: int = 1,
    ) -> Fit:
        """Fit every member in at least `n_slots` slots; see `EpochLoop.train` for the other arguments."""

        def fit(n_slots: int) -> Fit:
            program, placement = self.program(model, train, population.hyper, n_slots)
            return self.train(program, placement, population, validate, on_epoch, epochs, saved)

        return self.halving(max(n_slots, self.n_slots(population)), fit)

    def program(self, model: Model, train: Interactions, hyper: Hyper, n_slots: int) -> tuple[MemberProgram, Placement]:
        """Program of a member, and placement of the slots; `hyper` determines whether any member is regularized."""
        if self.precision == "bfloat16" and backend.platform() == "cpu":
            raise InputError(
                "trainer.precision=bfloat16 needs a GPU or TPU, a CPU multiplies in float32: remove trainer.precision"
            )
        examples, n_examples = self.objective.examples(train, model.history_length)
        if model.history_columns:
            examples = self.objective.with_columns(examples, train, model.history_columns)
        batch_size = min(self.batch_size, n_examples)
        if self.mesh.batch != "auto":
            batch_size += -batch_size % self.mesh.batch
        placement = place(n_slots, self.members, self.objective.split_batch, batch_size, self.mesh)
        prepared = model.prepare(train) if isinstance(model, Prepared) else None
        shared = placement.replicate((examples, tables(model, train.encoded), prepared))
        release()
        hard = mining_sampler(self.objective)
        training = Training(
            zeroed(model, hyper.of("model")),
            zeroed(self.objective, _numbers_of_loss(self.objective, hyper)),
            zeroed(partial(self.optimizer), hyper.of("optimizer")),
            n_examples,
            batch_size,
            placement.n_batch_devices,
            placement.n_row_devices,
            penalized=bool(np.any((vars(model) | hyper.of("model")).get("regularization", 0))),
            products=PRODUCTS[self.precision],
            loss_scale=self.loss_scale,
            mined=None if hard is None else (train.n_users, hard.width),
        )
        loaded = lambda params: model.pretrained(params, train)  # noqa: E731
        with rows_over(self.mesh.row):
            miner = None if hard is None else Miner(hard, model, train)
        return MemberProgram(shared, training.start, training.epoch, loaded, miner), placement


@dataclass(frozen=True)
class Training:
    """Training of one member, as a program; a member's hyperparameters replace the numbers of the parts.

    Attributes:
        model: model to train
        objective: objective that a step minimizes
        optimizer: optimizer of a step
        n_examples: number of examples
        batch_size: examples per step
        n_batch_devices: number of devices over which each batch is split
        n_row_devices: number of devices over which the rows of tables are split
        penalized: add the model's own penalty
        products: precision of matrix products, for `jax.default_matmul_precision`
        loss_scale: factor of the loss in the backward pass
        mined: shape of a member's mined negatives; None: the sampler uses none
    """

    model: Model
    objective: Objective
    optimizer: Callable[..., Dense | Averaged | RowDescent]
    n_examples: int
    batch_size: int
    n_batch_devices: int
    n_row_devices: int
    penalized: bool
    products: str | None
    loss_scale: float
    mined: tuple[int, int] | None

    def start(self, shared: PyTree, key: PRNGKeyArray, hyper: Hyper) -> State:
        """Initial state of a member."""
        examples, features, prepared = shared
        init_key, key = jax.random.split(key)
        model, objective, optimizer = self._parts(hyper)
        params = objective.start(fresh(with_tables(self.model, features), init_key, hyper), examples)
        mined = None if self.mined is None else nothing_mined(*self.mined)
        state = State(params, optimizer.init(params), stream(key), jnp.int32(0), mined)
        return _finished(_with_prepared(model, prepared), state)

    def _parts(self, hyper: Hyper) -> tuple[Model, Objective, Dense | Averaged | RowDescent]:
        """The model, the objective with its sampler, and the optimizer, with the member's hyperparameters."""
        optimizer = with_numbers(partial(self.optimizer), hyper.of("optimizer"))()
        optimizer = optimizer if self.loss_scale == 1 else unscaled(optimizer, self.loss_scale)
        objective = with_numbers(self.objective, _numbers_of_loss(self.objective, hyper))
        return with_hyper(self.model, hyper), objective, optimizer

    def epoch(self, shared: PyTree, state: State, hyper: Hyper, active: Array) -> tuple[State, Float[Array, ""]]:
        """Train on every example once, in random order; a member that is not active is returned unchanged."""
        examples, features, prepared = shared
        n_examples, batch_size, n_batch_devices = self.n_examples, self.batch_size, self.n_batch_devices
        model, loss, optimizer = self._parts(hyper)
        model = _with_prepared(with_tables(model, features), prepared)
        of_epoch = substream(state.source, state.epoch)
        order, draws = substream(of_epoch, 0), substream(of_epoch, 1)
        if state.mined is not None:
            examples = examples._replace(mined=state.mined)
        if loss.reads_start:
            examples = examples._replace(start=EpochStart(state.params, state.epoch))

        n_steps = -(-n_examples // batch_size)
        share = batch_size // n_batch_devices  # examples of each batch on this device

        def step(carry: tuple[Params, PyTree], number: Array) -> tuple[tuple[Params, PyTree], tuple[Array, Array]]:
            params, moments = carry
            position = number * batch_size + places_in_batch(share)
            rows = shuffled(order, n_examples, jnp.minimum(position, n_examples - 1))
            # The last batch may be short; its padding has weight 0.
            inside = (position < n_examples).astype(jnp.float32)

            def objective(params: Params) -> tuple[Array, tuple[Array, Array]]:
                cost, weight = loss.costs(model, params, examples, rows, draws, self.penalized)
                total, weights = jnp.sum(cost * inside), jnp.sum(weight * inside)
                # Each device divides by the weight of the whole batch, so that gradients can be summed over devices.
                whole = sum_over_batch(weights)
                # Avoid 0 / 0 for a batch of total weight 0, e.g. of windows without a target.
                mean = total / jnp.maximum(whole, jnp.finfo(whole.dtype).tiny)
                return self.loss_scale * mean, (total, weights)

            def passed() -> Float[Array, ""]:
                return state.epoch.astype(jnp.float32) + (number.astype(jnp.float32) + 0.5) / n_steps

            params, moments, sums = optimizer.step(objective, params, moments, passed)
            return (params, moments), sums

        def train(state: State) -> tuple[State, Array]:
            carry = state.params if state.trained is None else state.trained, state.optimizer
            with batch_shared_by(n_batch_devices, share), jax.default_matmul_precision(self.products):
                (params, moments), (totals, weights) = jax.lax.scan(step, carry, jnp.arange(n_steps))
            after = State(params, moments, state.source, state.epoch + 1, state.mined)
            # Tables that are computed have no padding.
            return padded(_finished(model, after), self.n_row_devices), jnp.sum(totals) / jnp.sum(weights)

        return jax.lax.cond(active, train, lambda state: (state, jnp.float32(jnp.nan)), state)


def _finished(model: Model, state: State) -> State:
    """The state with parameters that score; those that steps update are others for a `Prepared` model."""
    if not isinstance(model, Prepared):
        return state
    trained = state.params["params"]  # a loss may add parameters of its own
    return state._replace(params={"params": trained | model.bind(state.params).finished()}, trained=state.params)


def _with_prepared(model: Model, prepared: PyTree) -> Model:
    """The model in training, which may read statistics of the training data."""
    return model.clone(prepared=prepared) if isinstance(model, Prepared) else model  # type: ignore[call-arg]


def _numbers_of_loss(objective: Objective, hyper: Hyper) -> dict[str, PyTree]:
    """Hyperparameters of the objective and of its sampler, by path."""
    numbers = hyper.of("loss")
    if vars(objective).get("negatives") is not None:
        numbers |= {f"negatives.{name}": number for name, number in hyper.of("negatives").items()}
    return numbers
