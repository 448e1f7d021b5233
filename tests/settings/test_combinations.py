"""Settings that are invalid for any data are refused before data is read: the data file does not exist here."""

import jax.numpy as jnp
import pytest

from jaxrec import launch, settings
from jaxrec.errors import InputError
from jaxrec.models.sasrec import SASRec

FILES = ("data=files", "data.path=no/such/file.csv")
COMPARES = ("loss=sequence_sampled_softmax", "negatives=uniform", "loss.cost.loss._target_=jaxrec.losses.psl")


class OneProduct:
    """A cost of dot products."""

    def __call__(self, h, target, weight, vectors, rows, draw):
        return jnp.sum(h)


class OwnEncoder(SASRec):
    """A family that scores by dot products only."""

    has_head = False


class OwnTemperature(OwnEncoder):
    """A family with a temperature of its own."""

    temperature: float | None = 0.1


def test_a_family_may_have_a_temperature_of_its_own(compose):
    settings.check(compose("model=sasrec", f"model._target_={__name__}.OwnTemperature", "model.temperature=0.1"))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["eval.monitor=rbp@10"], "eval.monitor=rbp@10 is not among the metrics: choose one of ndcg@5, "),
        (["eval.k=[5]"], "eval.monitor=ndcg@10 is not among the metrics"),
        (
            ["eval.metrics=[recall]"],
            "eval.monitor=ndcg@10 is not among the metrics: choose one of recall@5, recall@10, recall@20",
        ),
        (
            ["eval=candidates", "eval.monitor=ndcg@10"],
            "eval.monitor=ndcg@10 is not among the metrics: choose one of sampled_ndcg@5",
        ),
        (["eval=candidates", "eval.k=[10,200]"], "eval.k=200 exceeds the 100 ranked items"),
        (["eval.metrics=[ndgc]"], "eval.metrics: unknown metric ndgc: choose one of ndcg, hit_rate, .*rbp, err"),
        (["eval.metrics=['rbp(q=1)']"], "eval.metrics: rbp has no parameter q: its parameters are p"),
        (["eval.metrics=['rbp(p=1)']"], "eval.metrics: rbp: p=1: must be less than 1"),
        (["eval.metrics=['rbp(0.8)']"], r"'rbp\(0.8\)' is not a metric: write a name, e.g. ndcg or 'rbp\(p=0.8\)'"),
        (["eval.metrics=['ndcg(p=0.8)']"], "ndcg has no parameter p: it has none"),
        (["eval.metrics=[coverage]"], "has no metric of a user's list: add one, e.g. ndcg"),
        (
            ["eval.metrics=[ndcg,rmse]"],
            "rmse is a metric of predicted values .*, which this evaluation does not produce",
        ),
        (
            ["eval=candidates", "eval.metrics=[ndcg,coverage]"],
            "coverage is a metric of all lists together",
        ),
        (
            ["loss=mse", "data.value_column=r", "eval.monitor=auc"],
            "eval.monitor=auc is not among the metrics: choose one of .*rmse",
        ),
        (["loss=mse", "data.value_column=r", "eval.metrics=[ndcg,auc]"], "auc is a metric of predicted labels"),
        (["loss=mse"], "this loss needs values: set data.value_column"),
        (["eval=values"], "this loss learns to rank: choose loss=mse or loss=click"),
        (["model=ease", "eval=values"], "this model learns to rank: choose loss=mse or loss=click"),
        (
            ["loss=click", "data.value_column=r", "eval=values"],
            "eval=values measures other predictions than the labels .*: choose eval=clicks",
        ),
        (
            ["loss=mse", "data.value_column=r", "eval=clicks", "eval.threshold=4"],
            "eval=clicks measures other predictions than the values .*: choose eval=values",
        ),
        (["loss=reconstruction"], "trains autoencoders of a user's items: choose model=mult_vae"),
        (["loss=composite_prior"], "trains autoencoders of a user's items: choose model=mult_vae or model=recvae"),
        (
            ["model=recvae", "loss.standard=0.6", "loss.wide=0.4"],
            "loss.standard=0.6 and loss.wide=0.4 are shares of the prior and must add up to less than 1",
        ),
        (["loss=softmax", "negatives=hard"], "samples no negatives, so negatives=hard has no effect"),
        (["loss=softmax", "negatives=given"], "samples no negatives, so negatives=given has no effect"),
        (["loss=softmax", "negatives=batch_shared"], "samples no negatives, so negatives=batch_shared has no effect"),
        (["negatives=none"], "this loss needs negatives and none are set: set a sampler, e.g. negatives=uniform"),
        (["model=sasrec", "loss=sequence_bce", "negatives=none"], "this loss needs negatives and none are set"),
        (["model=ease", "loss=bce"], "EASE is trained without a loss, so loss=bce has no effect: omit it"),
        (["model=ease", "loss=softmax"], "EASE is trained without a loss, so loss=softmax has no effect: omit it"),
        (["model=ials", "loss=reconstruction"], "so loss=reconstruction has no effect: omit it"),
        (["model=sasrec", "trainer=closed_form"], "trainer=closed_form cannot train SASRec: set trainer=gradient"),
        (["model=ease", "trainer=alternating"], "trainer=alternating cannot train EASE: set trainer=closed_form"),
        (["model=sasrec", "negatives=popularity"], "samples no negatives, so negatives=popularity has no effect"),
        (
            ["model=ease", "optimizer=adam"],
            "EASE is trained without an optimizer, so optimizer=adam has no effect: omit it",
        ),
        (
            ["model=ials", "negatives=uniform"],
            "ImplicitALS is trained without negatives, so negatives=uniform has no effect",
        ),
        (["trainer.batch_size=10", "trainer.mesh.batch=3"], "trainer.batch_size=10 must be a multiple of"),
        (["split.validation_fraction=0.5", "split.test_fraction=0.5"], "leave no training data"),
        (["split=new_users", "split.validation_fraction=0.5", "split.test_fraction=0.5"], "leave no training data"),
        (["split=global_time"], "this split needs times: set data.time_column to their column"),
        (["split=sessions"], "this split needs times: set data.time_column to their column"),
        (["split=global_time", "data.time_column=t", "split.test_from=soon"], "split.test_from=soon has a time that"),
        (
            ["split=global_time", "data.time_column=t", "split.validation_from=0.9", "split.test_from=0.8"],
            "split.validation_from=0.9 must be before split.test_from=0.8",
        ),
        (
            [
                "split=global_time",
                "data.time_column=t",
                "split.validation_from='2020-02-01'",
                "split.test_from='2020-01-01'",
            ],
            "split.validation_from=2020-02-01 must be before split.test_from=2020-01-01",
        ),
        (["data.path=null", "data.train=a.csv", "data.test=b.csv"], "already split: set split=given"),
        (["split=given"], "split=given needs data that is already split: set data.train=FILE and data.test=FILE"),
        (["model=sasrec", "model.n_heads=7"], "model.n_heads=7 must divide model.embedding_dim=64"),
        (["loss=sequence_softmax"], "MatrixFactorization is not a sequence model: choose loss=bpr or softmax"),
        (["model=bert4rec", "loss=sequence_softmax"], "BERT4Rec is bidirectional .* choose loss=masked_softmax"),
        (["model=sasrec", "loss.stride=51"], "loss.stride=51 must not exceed model.history_length=50"),
        (
            ["model=sasrec", "loss=sequence_sampled_softmax", "negatives=in_batch"],
            "negatives=in_batch cannot be drawn with loss.cost.share=user: set loss.cost.share=batch$",
        ),
        (
            ["model=sasrec", "loss=sequence_gbce", "negatives=dynamic"],
            "negatives=dynamic cannot be drawn with loss.cost.share=user: set loss.cost.share=position$",
        ),
        (
            ["model=sasrec", "loss=sequence_sampled_softmax", "negatives=hard", "loss.cost.share=batch"],
            "negatives=hard cannot be drawn with loss.cost.share=batch: set loss.cost.share=position or user$",
        ),
        (
            ["optimizer.warmup_epochs=9.0", "optimizer.cosine_epochs=5.0"],
            "optimizer.warmup_epochs=9.0 must be below optimizer.cosine_epochs=5.0",
        ),
        (["loss=ccl"], "this loss compares cosines: set model.temperature=1 model.biases=false"),
        (["loss=psl", "model.temperature=0.2", "model.biases=false"], "compares cosines: set model.temperature=1$"),
        (["model=neumf", "loss=directau"], "lacks: choose model=mf_cosine model.temperature=1 model.biases=false"),
        (["model=lru", *COMPARES, "model.temperature=1"], "lacks: choose model=sasrec model.temperature=1"),
        (
            ["model=sasrec", "model.item_components=4"],
            "model.item_components=4 only has an effect in a mixture: set model.query_components, or remove it$",
        ),
        (
            ["model=sasrec", "model.query_components=4", f"loss.cost._target_={__name__}.OneProduct"],
            "model.query_components=4 mixes several products, and loss.cost=OneProduct scores by one: set model.query",
        ),
        (
            ["model=sasrec", f"model._target_={__name__}.OwnEncoder", "model.temperature=0.1"],
            "OwnEncoder scores by dot products only: remove model.temperature$",
        ),
        (["negatives=hard", "negatives.ranks=[9,3]"], r"negatives.ranks=\[9, 3\]: the first rank must not exceed"),
        (
            ["negatives=mixed", "negatives.first._target_=jaxrec.negatives.in_batch.InBatch", "~negatives.first.power"],
            "needs samplers that draw per example",
        ),
    ],
)
def test_a_run_is_refused(compose, tmp_path, overrides, message):
    with pytest.raises(InputError, match=message):
        launch.run(compose(*FILES, *overrides), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_grid_names_the_combination(compose, tmp_path):
    good, bad = compose(*FILES), compose(*FILES, "eval.monitor=rbp@10")
    with pytest.raises(InputError, match=r"^eval\.monitor=rbp@10: eval\.monitor=rbp@10 is not among the metrics"):
        launch.grid([(good, []), (bad, ["eval.monitor=rbp@10"])], tmp_path / "grid")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["eval.monitor=rbp@10"], "eval.monitor=rbp@10 is not among the metrics"),
        (["split.validation_fraction=0"], "a search needs validation data"),
        (["split=global_time", "data.time_column=t", "split.validation_from=null"], "a search needs validation data"),
        (["split=sessions", "data.time_column=t", "split.validation_days=0"], "a search needs validation data"),
    ],
)
def test_a_search_is_refused(compose, tmp_path, overrides, message):
    space = {"model.embedding_dim": {"choices": [4, 8]}}
    tree = compose(*FILES, *overrides)
    with pytest.raises(InputError, match=message):
        launch.sweep(tree, space, lambda more: tree, [], tmp_path / "sweep")
    assert not (tmp_path / "sweep").exists()
