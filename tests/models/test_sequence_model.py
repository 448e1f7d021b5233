"""Promises of all sequence models: causality, no effect of padding, and the formulas of their papers in numpy."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit
from scipy.special import softmax as normalized

from jaxrec.errors import InputError
from jaxrec.history import History
from jaxrec.models.bert4rec import BERT4Rec
from jaxrec.models.dropout import Noise, dropout
from jaxrec.models.gru4rec import GRU4Rec
from jaxrec.models.hstu import HSTU
from jaxrec.models.lru import LRURec
from jaxrec.models.nextitnet import NextItNet
from jaxrec.models.sasrec import SASRec
from jaxrec.query import Query
from tests.slow import some_slow

ITEMS, LENGTH, DIM = 7, 6, 4
MODELS = {
    "sasrec": SASRec(ITEMS, LENGTH, embedding_dim=DIM, n_heads=2, init_std=1.0),
    "sasrec_pre": SASRec(
        ITEMS, LENGTH, embedding_dim=DIM, n_blocks=1, normalize="pre", activation="silu", gated=True, tied=False
    ),
    "sasrec_post": SASRec(
        ITEMS,
        LENGTH,
        embedding_dim=DIM,
        n_blocks=1,
        n_heads=2,
        normalize="post",
        activation="gelu",
        feed_forward=2,
        relative=True,
    ),
    "hstu": HSTU(ITEMS, LENGTH, embedding_dim=DIM, n_heads=2),
    "lru": LRURec(ITEMS, LENGTH, embedding_dim=DIM, n_blocks=1),
    "gru": GRU4Rec(ITEMS, LENGTH, embedding_dim=DIM, n_layers=2),
    "lstm": GRU4Rec(ITEMS, LENGTH, embedding_dim=DIM, cell="lstm"),
    "nextitnet": NextItNet(ITEMS, LENGTH, embedding_dim=DIM, dilations=(1, 2)),
    "bert4rec": BERT4Rec(ITEMS, LENGTH, embedding_dim=DIM, n_blocks=1, init_std=1.0),
}
LONGER = [name for name in MODELS if name != "sasrec_pre"]  # only one block, which compiles faster
OTHERS = [name for name in MODELS if name not in ("sasrec", "bert4rec")]
CAUSAL = [name for name in MODELS if name != "bert4rec"]
HISTORY = np.array([[-1, -1, 3, 0, 5, 5], [6, 1, 2, 3, 4, 0]], np.int32)


def params_of(name: str) -> dict:
    """Return random values for every parameter, also for biases and scales."""
    model = MODELS[name]
    shapes = jax.eval_shape(
        lambda: model.init(jax.random.key(0), Query(jnp.zeros(1, jnp.int32)), jnp.zeros((1, 1), jnp.int32))
    )
    rng = np.random.default_rng(3)
    return jax.tree.map(lambda x: jnp.asarray(rng.normal(0.3, 0.6, x.shape), jnp.float32), shapes)


@pytest.fixture(scope="module", params=MODELS)
def model(request):
    return MODELS[request.param], params_of(request.param), request.param


@cache
def encoder(model):
    return jax.jit(lambda params, items, noise: model.apply(params, items, noise, method="encode"))


def encode(model, params, items, noise=None):
    return encoder(model)(params, jnp.asarray(items), noise)


@pytest.mark.parametrize("name", some_slow(CAUSAL, "sasrec_pre", "sasrec_post", "lru", "lstm", "nextitnet"))
def test_outputs_depend_on_all_of_the_past_and_not_on_the_future(name):
    """By the gradient of each position's output with respect to the embedding of each item of the history."""
    model, params = MODELS[name], params_of(name)
    items = jnp.arange(LENGTH)[None, :]  # item t stands at position t, so its row of the table is that position's input

    def answers(table):
        changed = {"params": params["params"] | {"item_embedding": {"table": table}}}
        h = model.apply(changed, items, method="encode")[0]
        return h @ jnp.arange(1.0, h.shape[1] + 1)

    found = np.abs(jax.jit(jax.jacobian(answers))(params["params"]["item_embedding"]["table"])).sum(axis=2)[:, :LENGTH]
    assert (np.triu(found, 1) == 0).all()
    assert (np.tril(found) > 0).sum() == LENGTH * (LENGTH + 1) // 2


@pytest.mark.parametrize("model", some_slow(MODELS, *LONGER), indirect=True)
def test_padding_has_no_influence(model):
    """A shorter window of the same items has the same outputs, and the table row of padding has no gradient."""
    model, params, _ = model
    whole, cut = encode(model, params, HISTORY[:1]), encode(model, params, HISTORY[:1, 2:])
    np.testing.assert_allclose(whole[:, 2:], cut, rtol=1e-5, atol=1e-6)

    def total(params):
        return jnp.sum(model.apply(params, jnp.asarray(HISTORY[:1]), method="encode")[:, 2:] ** 2)

    gradient = jax.jit(jax.grad(total))(params)["params"]
    table = gradient["item_embedding"]["table"]
    in_history = np.isin(np.arange(len(table)), HISTORY[0])
    assert (np.asarray(table)[~in_history] == 0).all()
    assert (np.abs(np.asarray(table)[in_history]).sum(axis=1) > 0).all()
    if "position_embedding" in gradient:
        assert (np.asarray(gradient["position_embedding"]["table"])[:2] == 0).all()


@pytest.mark.parametrize("model", some_slow(MODELS, *OTHERS), indirect=True)
def test_queries_use_the_latest_items_and_an_empty_history_has_scores(model):
    model, params, _ = model
    users = jnp.zeros(1, jnp.int32)
    score = jax.jit(lambda p, query: model.apply(p, query, method="score_catalog"))
    empty = score(params, Query(users, History(jnp.full((1, LENGTH), -1))))
    assert np.isfinite(empty).all()
    with pytest.raises(InputError, match=f"choose loss={'sequence' if model.causal else 'masked'}_softmax"):
        score(params, Query(users))
    one, other = (score(params, Query(users + user, History(jnp.asarray(HISTORY[1:])))) for user in (0, 5))
    np.testing.assert_array_equal(one, other)  # no user id is needed
    assert not np.allclose(one, empty)


@pytest.mark.parametrize("model", some_slow(MODELS, *LONGER), indirect=True)
def test_dropout_noise_depends_on_example_and_position(model):
    """An example has the same noise in another batch and with less padding; without dropout there is none."""
    model, params, _ = model
    source = jnp.array([3, 4], jnp.uint32)
    plain = encode(model, params, HISTORY)
    both = encode(model, params, HISTORY, Noise(source, jnp.array([8, 9])))
    alone = encode(model, params, HISTORY[1:], Noise(source, jnp.array([9])))
    short = encode(model, params, HISTORY[:1, 2:], Noise(source, jnp.array([8])))
    assert not np.allclose(plain, both)
    np.testing.assert_allclose(both[1:], alone, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(both[:1, 2:], short, rtol=1e-5, atol=1e-6)


def test_dropout_keeps_the_mean_and_its_rate():
    x = jnp.ones((50, 400))
    noise = Noise(jnp.array([1, 2], jnp.uint32), jnp.arange(50))
    found = np.asarray(jax.jit(lambda rate: dropout(x, rate, noise, 0))(0.25))
    np.testing.assert_allclose(np.unique(found), [0, 4 / 3], rtol=1e-6)
    assert (found == 0).mean() == pytest.approx(0.25, abs=5 * np.sqrt(0.25 * 0.75 / x.size))
    other = np.asarray(jax.jit(lambda rate: dropout(x, rate, noise, 1))(0.25))
    assert ((found == 0) & (other == 0)).mean() == pytest.approx(0.0625, abs=0.01)
    np.testing.assert_array_equal(jax.jit(lambda rate: dropout(x, rate, noise, 0))(0.0), x)


def test_cosines_with_a_temperature():
    params = params_of("sasrec")
    query = Query(jnp.zeros(2, jnp.int32), History(jnp.asarray(HISTORY)))
    model = MODELS["sasrec"].clone(temperature=0.5)
    found = jax.jit(lambda p: model.apply(p, query, method="score_catalog"))(params)
    h, table = encode(MODELS["sasrec"], params, HISTORY)[:, -1], params["params"]["item_embedding"]["table"]
    length = lambda x: np.linalg.norm(x, axis=1, keepdims=True)  # noqa: E731
    np.testing.assert_allclose(found, 2 * (h / length(h)) @ (table / length(table)).T, rtol=1e-4)


def test_heads_must_divide_the_width():
    model = SASRec(ITEMS, LENGTH, embedding_dim=4, n_heads=3)
    with pytest.raises(InputError, match=r"model.n_heads=3 must divide model.embedding_dim=4"):
        jax.eval_shape(model.init, jax.random.key(0), Query(jnp.zeros(1, jnp.int32)), jnp.zeros((1, 1), jnp.int32))


# Formulas of the papers for one history without padding, position by position, in float64.


def norm(x, p, epsilon=1e-6):
    x = x - x.mean(axis=-1, keepdims=True)
    return x / np.sqrt((x**2).mean(axis=-1, keepdims=True) + epsilon) * p["scale"] + p["bias"]


def dense(x, p):
    return x @ p["kernel"] + p.get("bias", 0)


def attend(q, k, v, heads, causal):
    out = np.zeros_like(q)
    for columns in np.split(np.arange(q.shape[1]), heads):
        for t in range(len(q)):
            seen = slice(0, t + 1) if causal else slice(None)
            weights = normalized(k[seen][:, columns] @ q[t, columns] / np.sqrt(len(columns)))
            out[t, columns] = weights @ v[seen][:, columns]
    return out


def sasrec(p, items):
    x = 2.0 * p["item_embedding"]["table"][items] + p["position_embedding"]["table"][-len(items) :]
    for i in range(2):
        block = p[f"blocks_{i}"]
        a = norm(x, block["attention_norm"], 1e-8)
        x = a + attend(dense(a, block["query"]), dense(x, block["key"]), dense(x, block["value"]), 2, True)
        b = norm(x, block["forward_norm"], 1e-8)
        x = b + dense(np.maximum(dense(b, block["inner"]), 0), block["outer"])
    return norm(x, p["norm"], 1e-8)


def sasrec_pre(p, items):
    x = 2.0 * p["item_embedding"]["table"][items] + p["position_embedding"]["table"][-len(items) :]
    block = p["blocks_0"]
    a = norm(x, block["attention_norm"], 1e-8)
    mixed = attend(*(dense(a, block[name]) for name in ("query", "key", "value")), 1, True)
    x = x + mixed * expit(dense(a, block["attention_gate"]))
    b = norm(x, block["forward_norm"], 1e-8)
    inner = dense(b, block["inner"])
    inner = inner * expit(inner) * (b @ block["linear"]["kernel"])
    x = x + dense(inner, block["outer"]) * expit(dense(b, block["forward_gate"]))
    return norm(x, p["norm"], 1e-8)


def sasrec_post(p, items):
    x = norm(p["item_embedding"]["table"][items] + p["position_embedding"]["table"][-len(items) :], p["norm"], 1e-8)
    block = p["blocks_0"]
    q, k, v = (dense(x, block[name]) for name in ("query", "key", "value"))
    mixed = np.zeros_like(x)
    for head, columns in enumerate(np.split(np.arange(DIM), 2)):
        for t in range(len(x)):
            logits = k[: t + 1][:, columns] @ q[t, columns] / np.sqrt(2)
            logits += [block["distance"][head, t - s] for s in range(t + 1)]
            mixed[t, columns] = normalized(logits) @ v[: t + 1][:, columns]
    x = norm(x + mixed, block["attention_norm"], 1e-8)
    return norm(x + dense(gelu(dense(x, block["inner"])), block["outer"]), block["forward_norm"], 1e-8)


def lru(p, items):
    x = norm(p["item_embedding"]["table"][items], p["embedding_norm"])
    block = p["blocks_0"]
    size = np.exp(-np.exp(block["log_decay"]))
    z, states = np.zeros(2 * DIM, complex), []
    for entry in x:
        given = entry @ block["input_real"]["kernel"] + 1j * (entry @ block["input_imaginary"]["kernel"])
        z = size * np.exp(1j * block["phase"]) * z + np.sqrt(1 - size**2) * given
        states.append(np.concatenate([z.real, z.imag]) @ block["output"]["kernel"])
    x = norm(x + np.array(states), block["recurrence_norm"])
    x = norm(x + dense(gelu(dense(x, block["inner"])), block["outer"]), block["forward_norm"])
    return np.concatenate([x, np.ones((len(x), 1))], axis=1)


def hstu(p, items):
    """Without times; see test_hstu.py for loops over heads, queries and keys."""
    x = 2.0 * p["item_embedding"]["table"][items] + p["position_embedding"]["table"][-len(items) :]
    plain = {"scale": 1, "bias": 0}
    for block in (p["blocks_0"], p["blocks_1"]):
        inner = dense(norm(x, plain), block["split"])
        u, v, q, k = np.split(inner * expit(inner), 4, axis=1)
        mixed = np.zeros_like(v)
        for head, columns in enumerate(np.split(np.arange(DIM), 2)):
            for t in range(len(x)):
                logits = k[: t + 1][:, columns] @ q[t, columns] + block["distance"][head, t::-1][: t + 1]
                mixed[t, columns] = logits * expit(logits) @ v[: t + 1][:, columns] / LENGTH
        x = x + dense(norm(mixed, plain) * u, block["output"])
    return norm(x, p["norm"])


def gru(p, items):
    x = p["item_embedding"]["table"][items]
    for layer in (p["layers_0"], p["layers_1"]):
        h, states = np.zeros(DIM), []
        for entry in x:
            xr, xz, xn = np.split(dense(entry, layer["input"]), 3)
            hr, hz, hn = np.split(h @ layer["state"] + layer["state_bias"], 3)
            z = expit(xz + hz)
            h = (1 - z) * np.tanh(xn + expit(xr + hr) * hn) + z * h
            states.append(h)
        x = np.array(states)
    return np.concatenate([x, np.ones((len(x), 1))], axis=1)


def lstm(p, items):
    layer, h, c, states = p["layers_0"], np.zeros(DIM), np.zeros(DIM), []
    for entry in p["item_embedding"]["table"][items]:
        i, f, g, o = np.split(dense(entry, layer["input"]) + h @ layer["state"] + layer["state_bias"], 4)
        c = expit(f) * c + expit(i) * np.tanh(g)
        h = expit(o) * np.tanh(c)
        states.append(h)
    return np.concatenate([states, np.ones((len(states), 1))], axis=1)


def nextitnet(p, items):
    x = p["item_embedding"]["table"][items]
    for i, dilation in enumerate((1, 2)):
        inner = x
        for j, step in enumerate((dilation, 2 * dilation)):
            kernel, bias = p[f"blocks_{i}"][f"convolution_{j}"].values()
            kernel, bias = (kernel, bias) if kernel.ndim == 2 else (bias, kernel)
            taps = kernel.reshape(3, DIM, DIM)
            mixed = np.tile(bias, (len(x), 1))
            for t in range(len(x)):
                for tap in range(3):
                    if t - tap * step >= 0:
                        mixed[t] += inner[t - tap * step] @ taps[tap]
            inner = np.maximum(norm(mixed, p[f"blocks_{i}"][f"norm_{j}"]), 0)
        x = x + inner
    return np.concatenate([x, np.ones((len(x), 1))], axis=1)


def gelu(x):
    return x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))) / 2


def bert4rec(p, items):
    x = norm(p["item_embedding"]["table"][items] + p["position_embedding"]["table"][-len(items) :], p["embedding_norm"])
    block = p["blocks_0"]
    mixed = attend(*(dense(x, block[name]) for name in ("query", "key", "value")), 2, False)
    x = norm(x + dense(mixed, block["mix"]), block["attention_norm"])
    x = norm(x + dense(gelu(dense(x, block["inner"])), block["outer"]), block["forward_norm"])
    h = norm(gelu(dense(x, p["output"])), p["output_norm"])
    return np.concatenate([h, np.ones((len(h), 1))], axis=1)


REFERENCE = {
    "sasrec": sasrec,
    "sasrec_pre": sasrec_pre,
    "sasrec_post": sasrec_post,
    "hstu": hstu,
    "lru": lru,
    "gru": gru,
    "lstm": lstm,
    "nextitnet": nextitnet,
    "bert4rec": bert4rec,
}


@pytest.mark.parametrize("row", some_slow([1, 0], 0), ids=["full", "padded"])
def test_against_numpy(model, row):
    (model, params, name), items = model, HISTORY[row]
    p = jax.tree.map(lambda x: np.asarray(x, np.float64), params["params"])
    real = items[items >= 0]
    expected = REFERENCE[name](p, real)
    np.testing.assert_allclose(encode(model, params, items[None])[0, -len(real) :], expected, rtol=2e-4, atol=2e-5)
    vectors = p["output_embedding" if "output_embedding" in p else "item_embedding"]["table"][:ITEMS]
    if "item_bias" in p:
        vectors = np.concatenate([vectors, p["item_bias"][:, None]], axis=1)
    asked = REFERENCE[name](p, np.append(items[items >= 0][-LENGTH + 1 :], ITEMS)) if name == "bert4rec" else expected
    query = Query(jnp.zeros(1, jnp.int32), History(jnp.asarray(items[None])))
    scores = jax.jit(lambda p: model.apply(p, query, method="score_catalog"))(params)
    np.testing.assert_allclose(scores[0], vectors @ asked[-1], rtol=2e-4, atol=2e-5)


def test_attention_and_both_layers_of_every_block_of_sasrec_have_dropout_of_their_own(monkeypatch):
    """At the input, on the weights of attention, inside the feed-forward layer, and behind it."""
    sites = []

    def spy(x, rate, noise, site):
        sites.append((site, x.shape[-1]))
        return x

    for module in ("sasrec", "attention"):
        monkeypatch.setattr(f"jaxrec.models.{module}.dropout", spy)
    own = SASRec(n_items=9, history_length=5, embedding_dim=8, n_blocks=2, dropout=0.3)
    items, noise = jnp.zeros((3, 5), jnp.int32), Noise(jnp.zeros(2, jnp.uint32), jnp.arange(3))
    jax.eval_shape(lambda key: own.init(key, items, noise, method="encode"), jax.random.key(0))
    assert len({site for site, _ in sites}) == len(sites) == 1 + 2 * 3
    assert sorted(width for _, width in sites) == [5, 5, 8, 8, 8, 8, 8]
