"""Every model in conf/model keeps every promise that jaxrec makes for models. New yaml files are tested automatically.

By default one model of each kind is built with random parameters, which takes a second or two, and two are trained;
`pytest -m slow` builds and trains all of them.
"""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrec import experiment, recommend, rundir, settings
from jaxrec.data.splits.candidate_lists import draw_candidates
from jaxrec.data.splits.split import Selection
from jaxrec.evaluation.candidates import CandidateEvaluator
from jaxrec.evaluation.full_catalog import CatalogEvaluator
from jaxrec.features import tables, with_tables
from jaxrec.fitting.closed_form import ClosedForm
from jaxrec.fitting.epochs import fresh
from jaxrec.hyper import with_hyper
from jaxrec.models.model import has_dot_products
from jaxrec.programs import definition
from jaxrec.ranking import QueryRows, Ranker, query_of, scorer
from jaxrec.recommend.export import export
from jaxrec.recommend.exported import Exported
from jaxrec.settings import numbers_of, populations
from tests.paths import ROOT
from tests.planted import N_ITEMS, N_USERS, PLANTED, chances, ndcg
from tests.slow import some_slow

VARIANTS = {  # options that change how a model scores
    "sasrec_mixture": ("model=sasrec", "model.query_components=2", "model.item_components=3", "model.temperature=0.5"),
}
MODELS = [*sorted(path.stem for path in (ROOT / "conf" / "model").glob("*.yaml")), *VARIANTS]
TRAINED = ("ease", "mf")  # by default: one closed form, one by gradient descent
# Built by `pytest -m slow`: a model of the same kind is built by default; tests/models covers what differs.
ALIKE = (
    "ancf_history",
    "edlae",
    "gmf",
    "gru4rec",
    "hstu",
    "lru",
    "mf_cosine",
    "mlp",
    "nextitnet",
    "recvae",
    "rp3beta",
    "slim",
    "turbo_cf",
)
SLOW = [name for name in MODELS if name not in TRAINED]
SMALL = {
    "model.embedding_dim": 4,
    "model.hidden_dim": 8,
    "model.history_length": 6,
    "model.n_blocks": 1,
    "model.dilations": (1,),
}
# Share of the gap between popularity and the best possible ranking: a product of user and item closes more of it than
# layers or sequence models, which have to learn from 7,200 pairs how to combine their inputs.
SHARE, SHARE_OF_LAYERS = 0.4, 0.2


class Built:
    """A model with random parameters, and the program that trains two members of it; nothing is trained."""

    def __init__(self, tree: dict, selection: Selection) -> None:
        settings.check(tree)
        ((_, shared, population),) = populations([tree, tree | {"seed": 2}])
        self.selection, self.hyper = selection, population.hyper
        self.plain, self.evaluator = experiment.model_and_evaluator(shared, selection)
        self.trainer = experiment.trainer(shared)
        self.encoded = selection.train.encoded
        self.tables = tables(self.plain, self.encoded)
        one = jax.tree.map(lambda x: jnp.asarray(x[0]), population.hyper)
        self.model = with_tables(with_hyper(self.plain, one), self.tables)
        key = jax.random.key(0)
        self.shapes = jax.eval_shape(lambda tables: fresh(with_tables(self.plain, tables), key, one), self.tables)
        rng = np.random.default_rng(0)
        integer = lambda x: rng.integers(0, self.model.n_items, x.shape, x.dtype)  # noqa: E731
        normal = lambda x: rng.normal(0, 0.3, x.shape).astype(x.dtype)  # noqa: E731
        draw = lambda x: integer(x) if jnp.issubdtype(x.dtype, jnp.integer) else normal(x)  # noqa: E731
        self.params = jax.tree.map(draw, self.shapes)

    def query(self, n_users: int):
        return query_of(self.model, QueryRows.for_users(np.arange(n_users), self.selection.train.histories))


@pytest.fixture(scope="module")
def selections(compose):
    """Return the data of a model, read and split once for all models with the same split."""

    @cache
    def prepared(split: str) -> Selection:
        return experiment.prepare(compose(*PLANTED, f"split={split}"))[0].selection

    return prepared


@pytest.fixture(scope="module", params=some_slow(MODELS, *ALIKE))
def built(request, compose, selections) -> Built:
    tree = compose(*VARIANTS.get(request.param, (f"model={request.param}",)), *PLANTED)
    small = {key: value for key, value in SMALL.items() if settings.get(tree, key) is not None}
    return Built(settings.put(tree, small), selections(tree["split"]["_target_"].rpartition(".")[2]))


class Fitted:
    """A model fitted once on planted data, for all the tests of this file."""

    def __init__(self, tree: dict) -> None:
        settings.check(tree)
        self.tree = tree
        self.split, _ = experiment.prepare(tree)
        ((_, self.shared, self.population),) = populations([tree])
        self.selected = experiment.select(self.shared, self.split.selection, self.population)
        (self.result,) = experiment.finish(self.shared, self.split, self.selected)
        self.params = jax.tree.map(lambda x: x[0], self.selected.fit.params)
        member = with_hyper(self.selected.model, jax.tree.map(lambda x: jnp.asarray(x[0]), self.population.hyper))
        self.encoded = self.split.selection.train.encoded
        self.model = with_tables(member, tables(member, self.encoded))

    def query(self, n_users: int):
        return query_of(self.model, QueryRows.for_users(np.arange(n_users), self.split.selection.train.histories))


@pytest.fixture(scope="module", params=some_slow(MODELS, *SLOW))
def fitted(request, compose) -> Fitted:
    tree = compose(*VARIANTS.get(request.param, (f"model={request.param}",)), *PLANTED)
    if request.param in ("ancf", "ials"):  # few clusters need few dimensions; more would memorize single users
        tree = settings.put(tree, {"model.embedding_dim": 8})
    of_sequences = tree["split"]["_target_"].endswith("leave_one_out")
    if of_sequences:  # next-item models need planted sequences
        tree = settings.put(tree, {"data.sequential": True})
    if "epochs" in tree["trainer"]:
        short = {"trainer.epochs": 12, "trainer.batch_size": 512, "optimizer.learning_rate": 0.02}
        # Adam with a large epsilon does not amplify gradients that are only rounding, so that equal members stay equal.
        short |= {"optimizer.eps": 1e-6}
        if tree["loss"]["_target_"].endswith((".Reconstruction", ".CompositePrior")):  # batches count users
            short |= {"trainer.batch_size": 32, "optimizer.learning_rate": 0.006}
        if of_sequences:  # batches count users
            short |= {"trainer.batch_size": 32, "optimizer.learning_rate": 0.006, "model.history_length": 12}
            short |= {"trainer.epochs": 20, "trainer.patience": 20, "model.dropout": 0.1}
            short |= {"model.n_blocks": 1, "model.dilations": (1,)}  # more layers would take long to compile
            short |= {"optimizer.eps": 1e-4}
        tree = settings.put(tree, {key: value for key, value in short.items() if settings.get(tree, key) is not None})
    return Fitted(tree)


def assert_agreement(model, params, query):
    """Check that scores of candidates and pools, and products of vectors, equal scores of the catalog."""
    n_rows = len(query.user)
    items = jnp.asarray(np.random.default_rng(0).integers(0, model.n_items, (n_rows, 7), np.int32))
    pool = jnp.array([11, 0, 7], jnp.int32)

    @jax.jit
    def scores(params, query):
        catalog = model.apply(params, query, method="score_catalog")
        products = catalog
        if has_dot_products(model):
            products = model.bind(params).query_vectors(query) @ model.bind(params).item_vectors().T
        return catalog, products, model.apply(params, query, items), scorer(model, params, pool)(query)

    catalog, products, candidates, of_pool = map(np.asarray, scores(params, query))
    assert catalog.std() > 0
    np.testing.assert_allclose(candidates, np.take_along_axis(catalog, items, axis=1), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(of_pool, catalog[:, pool], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(products, catalog, rtol=1e-5, atol=1e-5)


def test_candidates_and_pools_score_as_in_the_catalog(built):
    assert_agreement(built.model, built.params, built.query(20))


def test_training_scores_equal_scores_of_the_catalog(fitted):
    assert_agreement(fitted.model, fitted.params, fitted.query(20))


def test_training_keeps_the_shapes_of_the_parameters_and_has_one_program(built):
    """Traced without compiling, for one of two members; every setting that may differ between them is an argument."""
    train, model = built.selection.train, built.plain
    one = jax.tree.map(lambda x: x[0], built.hyper)
    if isinstance(built.trainer, ClosedForm):
        solved = jax.eval_shape(lambda *given: with_hyper(model, given[1]).solve(given[0]), model.prepare(train), one)
        assert solved == built.shapes["params"]
        return
    program, same = (built.trainer.program(model, train, built.hyper, 2)[0] for _ in range(2))
    start = jax.eval_shape(program.start, program.shared, jax.random.key(0), one)
    state, loss = jax.eval_shape(program.epoch, program.shared, start, one, True)
    assert state == start
    assert start.params == built.shapes
    assert (loss.shape, loss.dtype) == ((), jnp.float32)
    assert definition(program.epoch) == definition(same.epoch)


def test_the_planted_clusters_are_found(fitted):
    test, popularity = fitted.result.metrics["test"], fitted.result.metrics["popularity"]
    if type(fitted.model).__name__ == "Popularity":
        assert test == popularity
        count = np.bincount(fitted.split.selection.train.item, minlength=N_ITEMS)
        by_hand = ndcg(np.tile(count, (N_USERS, 1)), fitted.split.test)
        assert test["ndcg@10"] == pytest.approx(by_hand, abs=1e-6)
    else:
        held, of_sequences = fitted.split.test, fitted.tree["data"]["sequential"]
        best = ndcg(chances(held), held)
        share = SHARE_OF_LAYERS if of_sequences or "layers" in fitted.tree["model"] else SHARE
        assert test["ndcg@10"] > popularity["ndcg@10"] + share * (best - popularity["ndcg@10"])
        assert of_sequences or test["ndcg@10"] < best, (
            "no order is planted: what ranks better than by chance has seen it"
        )


@pytest.mark.parametrize("block", some_slow([7, 10_000], 10_000))
def test_no_metric_depends_on_the_block_size(fitted, block):
    selection = fitted.split.selection
    k = fitted.tree["eval"]["k"]
    whole, parts = (
        CatalogEvaluator(fitted.selected.model, selection.validation, k=k, block=b)(
            fitted.selected.fit.params, fitted.population.hyper
        ).means(0)
        for b in (None, block)
    )
    assert parts == whole
    assert fitted.selected.validation[0] == pytest.approx(whole, rel=1e-6)


@pytest.mark.parametrize("fitted", some_slow(MODELS, *(name for name in MODELS if name != "ease")), indirect=True)
@pytest.mark.parametrize("block", [7])
def test_sampled_ranks_depend_on_neither_the_block_nor_the_population(fitted, block):
    """Two equal members: both rank each held-out item as the scores of the catalog do."""
    held = fitted.split.selection.validation
    drawn = draw_candidates(held, 20, seed=0)
    two = jax.tree.map(lambda x: np.repeat(x, 2, axis=0), (fitted.selected.fit.params, fitted.population.hyper))
    found = [
        CandidateEvaluator(fitted.selected.model, held, drawn, k=(10,), block=b)(*members)
        for b, members in ((block, two), (None, (fitted.selected.fit.params, fitted.population.hyper)))
    ]
    assert found[0].means(0) == found[0].means(1) == found[1].means(0)
    users, items = found[0].users, found[0].ground_truth.items
    score = jax.jit(lambda params, query: fitted.model.apply(params, query, method="score_catalog"))
    scores = np.asarray(score(fitted.params, fitted.query(users.max() + 1)))
    entry = drawn[0][users][:, None] + np.arange(20)  # a user with nearly all items has fewer candidates
    others = drawn[1][np.minimum(entry, len(drawn[1]) - 1)]
    gap = scores[users[:, None], others] - scores[users, items][:, None]
    gap[entry >= drawn[0][users + 1][:, None]] = -np.inf
    clear = ~((np.abs(gap) < 1e-5) & (gap != 0)).any(axis=1)  # sums in another order may differ in the last digits
    hit = (gap >= 0).sum(axis=1) < 10
    np.testing.assert_array_equal(found[0].per_user["sampled_hit_rate@10"][0][clear], hit[clear])
    assert clear.mean() > 0.9


def test_known_items_are_never_recommended(fitted):
    train = fitted.split.selection.train
    asked = QueryRows.for_users(np.arange(train.n_users), train.histories, fitted.encoded)
    ranked = Ranker(fitted.selected.model, asked, 20)(fitted.selected.fit.params, fitted.population.hyper)
    had = set(zip(train.user.tolist(), train.item.tolist(), strict=True))
    shown = [(user, item) for user, items in enumerate(np.asarray(ranked.items[0]).tolist()) for item in items]
    assert len(shown) == 20 * train.n_users
    assert not had & set(shown)


@pytest.mark.parametrize("fitted", some_slow(MODELS, *(name for name in MODELS if name != "ease")), indirect=True)
def test_members_of_a_population_train_as_alone(fitted):
    """Two seeds and, if the model has traced hyperparameters, two values of each."""
    different = {"optimizer.learning_rate": 0.01, "negatives.ratio": 2, "model.dropout": 0.3}
    different |= {"model.k": 30, "model.shrinkage": 3.0, "model.unobserved_weight": 0.3, "model.temperature": 0.8}
    different |= {
        "model.embedding_dim": 16,
        "model.alpha": 0.5,
        "model.l1": 3.0,
        "model.user_normalization": 1.0,
        "model.power": 0.7,
    }
    different |= (
        {"model.regularization": 0.01} if "epochs" in fitted.tree["trainer"] else {"model.regularization": 40.0}
    )
    own = {key: value for key, value in different.items() if key in numbers_of(fitted.tree)}
    short = fitted.tree
    if "epochs" in fitted.tree["trainer"]:
        # Two epochs: rounding errors grow with every step, through layers and Adam.
        short = settings.put(short, {"trainer.epochs": 2})
        if settings.get(short, "optimizer.eps") is not None:
            short = settings.put(short, {"optimizer.eps": 1e-4})
    if settings.get(short, "model.regularization") == 0:  # without a penalty the program differs
        short = settings.put(short, {"model.regularization": 0.02})
    members = [short, settings.put(short, own | {"seed": 5})]
    ((positions, shared, population),) = populations(members)
    assert positions == [0, 1]
    together = experiment.select(shared, fitted.split.selection, population).fit

    def agree(wide, narrow, member):
        width = narrow.shape[-1]
        np.testing.assert_allclose(wide[member][..., :width], narrow[0], rtol=2e-3, atol=2e-4)
        np.testing.assert_array_equal(wide[member][..., width:], 0)

    for member, tree in enumerate(members):
        ((_, shared_alone, one),) = populations([tree])
        alone = experiment.select(shared_alone, fitted.split.selection, one).fit
        assert together.best_epoch[member] == alone.best_epoch[0]
        for now, then in zip(together.history[member], alone.history[0], strict=True):
            assert now["loss"] == pytest.approx(then["loss"], rel=1e-4)
            assert now.get("ndcg@20") == pytest.approx(then.get("ndcg@20"), abs=2e-3)
        jax.tree.map(lambda wide, narrow, member=member: agree(wide, narrow, member), together.params, alone.params)


@pytest.mark.parametrize("fitted", some_slow(MODELS, *(name for name in MODELS if name != "ease")), indirect=True)
def test_a_run_directory_gives_the_lists_of_the_run(fitted, tmp_path):
    rundir.write(tmp_path, fitted.tree, fitted.result)
    model = recommend.load(tmp_path)
    users = fitted.split.test.known.user_ids[[3, 1, 200]]
    table = model.recommend(users, k=5)
    assert table.user_id.drop_duplicates().tolist() == users.tolist()
    assert table["rank"].tolist() == [1, 2, 3, 4, 5] * 3
    first = table[table["rank"] == 1]
    scores = [model.score([user], [item])[0] for user, item in zip(first.user_id, first.item_id, strict=True)]
    np.testing.assert_allclose(scores, first.score, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("fitted", some_slow(MODELS, *(name for name in MODELS if name != "ease")), indirect=True)
def test_an_export_for_every_backend_gives_the_lists_of_the_run(fitted, tmp_path):
    rundir.write(tmp_path / "run", fitted.tree, fitted.result)
    export(str(tmp_path / "run"), str(tmp_path / "out"), k=5)
    model, exported = recommend.load(tmp_path / "run"), Exported(tmp_path / "out")
    assert exported.about["platforms"] == ["cpu", "cuda", "tpu"]
    # As many users as histories, with the same maximum length, so that one program serves both.
    longest = int(np.argmax(np.diff(model.known.offsets)))
    users = model.user_ids[[3, 1, longest]].tolist()
    history = model.known.items[model.known.offsets[longest] : model.known.offsets[longest + 1]]
    histories = [model.item_ids[[5, 9, 2]].tolist(), [], model.item_ids[history].tolist()]
    wanted = [model.recommend(users, k=5), model.recommend_histories(histories, k=5)]
    found = [exported.recommend(users, k=5), exported.recommend_histories(histories, k=5)]
    for table, lists in zip(wanted, found, strict=True):
        items, scores = zip(*(pair for best in lists for pair in best), strict=True)
        assert table.item_id.tolist() == list(items)
        np.testing.assert_allclose(scores, table.score, rtol=1e-4, atol=1e-5)
