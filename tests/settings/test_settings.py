"""Strictness of the configuration, and which runs share a program."""

import pytest

from jaxrec import settings
from jaxrec.errors import InputError
from jaxrec.settings import populations
from tests.paths import ROOT
from tests.slow import some_slow

NEEDS = {  # settings that a choice requires
    "sequences": ["data.path=FILE"],
    "clicks": ["loss=click"],
    "values": ["loss=mse"],
    "closed_form": ["model=ease"],
    "alternating": ["model=ials"],
    "none": ["model=ease"],
    **{f"sequence_{name}": ["model=sasrec"] for name in ("softmax", "sampled_softmax", "bce", "gbce")},
    "masked_softmax": ["model=bert4rec"],
}
GROUPS = ["model", "loss", "optimizer", "negatives", "trainer", "split", "data", "eval"]


@pytest.mark.parametrize("group", some_slow(GROUPS, *(group for group in GROUPS if group != "model")))
def test_every_choice_in_conf_is_accepted(compose, group):
    for path in sorted((ROOT / "conf" / group).glob("*.yaml")):
        tree = compose(f"{group}={path.stem}", *NEEDS.get(path.stem, ()))
        settings.check(tree)
        assert group in tree


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"trainer.epochs": 0}, "trainer.epochs=0: must be greater than 0"),
        ({"trainer.epochs": 1.5}, "trainer.epochs=1.5: must be a valid integer"),
        ({"trainer.patience": "soon"}, "trainer.patience='soon': must be a valid integer"),
        ({"optimizer.learning_rate": -0.1}, "optimizer.learning_rate=-0.1: must be greater than 0"),
        ({"optimizer.learning_rate": float("inf")}, "optimizer.learning_rate=inf: must be a finite number"),
        ({"optimizer.learning_rate": "fast"}, "optimizer.learning_rate='fast': must be a valid number"),
        ({"optimizer.b2": 1.0}, "optimizer.b2=1.0: must be less than 1"),
        ({"model.embedding_dim": 0}, "model.embedding_dim=0: must be greater than 0"),
        ({"model.regularization": -1.0}, "model.regularization=-1.0: must be greater than or equal to 0"),
        ({"negatives.ratio": 0}, "negatives.ratio=0: must be greater than 0"),
        ({"trainer.members": "sideways"}, "trainer.members='sideways': must be 'auto', 'vmap' or 'sequential'"),
        ({"eval.k": (10, 0)}, "eval.k=[10,0]: must be greater than 0"),
        ({"split.test_fraction": 0.0}, "split.test_fraction=0 leaves no test data"),
        ({"seed": -1}, "seed=-1: must be greater than or equal to 0"),
        ({"seed": True}, "seed=True: must be a valid integer"),
        ({"refit": "yes"}, "refit='yes': must be a valid boolean, true or false"),
        ({"trainer.epochs": 5.0}, "trainer.epochs=5.0: must be a valid integer, trainer.epochs=5"),
    ],
)
def test_a_wrong_value_is_named_with_what_is_allowed(compose, values, message):
    with pytest.raises(InputError) as error:
        settings.check(settings.put(compose(), values))
    assert message in str(error.value)


def test_an_unknown_key_is_named_with_the_known_ones(compose):
    tree = compose("+trainer.epcohs=3")
    with pytest.raises(InputError, match=r"trainer.epcohs is unknown; trainer takes .*batch_size.*epochs"):
        settings.check(tree)
    with pytest.raises(InputError, match="epcohs is not a setting"):
        settings.put(compose(), {"trainer.epcohs": 3})


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("optimizer", "MatrixFactorization needs an optimizer and none is set: set one, e.g. optimizer=adam"),
        ("split.validation_fraction", "split.validation_fraction is missing: set it"),
    ],
)
def test_a_missing_setting_is_named(compose, key, message):
    """As in a config.yaml that was edited."""
    *path, name = key.split(".")
    node = tree = {group: dict(value) if isinstance(value, dict) else value for group, value in compose().items()}
    for part in path:
        node = node[part]
    del node[name]
    with pytest.raises(InputError) as error:
        settings.check(tree)
    assert str(error.value) == message


@pytest.mark.parametrize("target", ["..", ".optimizers.adam", "", "adam", "jaxrec.nothing.adam"])
def test_a_target_that_cannot_be_imported_is_named(compose, target):
    with pytest.raises(InputError, match=f"_target_: {target} cannot be imported"):
        settings.check(settings.put(compose(), {"optimizer._target_": target}))


def test_eval_monitor_must_be_a_metric_that_is_measured(compose):
    with pytest.raises(InputError, match=r"eval\.monitor=ndcg@7"):
        settings.build(compose("eval.monitor=ndcg@7")["eval"])


def test_traced_numbers_share_a_program_and_others_do_not(compose):
    base = compose("model.embedding_dim=64")
    members = [
        base,
        settings.put(base, {"seed": 2, "optimizer.learning_rate": 0.1, "model.embedding_dim": 16}),
        settings.put(base, {"trainer.batch_size": 64}),
        settings.put(base, {"negatives.ratio": 9, "model.regularization": 0.5, "optimizer.weight_decay": 0.1}),
    ]
    groups = list(populations(members))
    assert [positions for positions, _, _ in groups] == [[0, 1, 3], [2]]
    _, shared, population = groups[0]
    assert (shared["model"]["embedding_dim"], shared["negatives"]["ratio"]) == (64, 9)
    assert {key: x.tolist() for key, x in population.hyper.numbers.items()} == {
        "model.width": [64, 16, 64],
        "model.regularization": pytest.approx([0.01, 0.01, 0.5]),
        "negatives.n_negatives": [4, 4, 9],
        "optimizer.learning_rate": pytest.approx([0.003, 0.1, 0.003]),
        "optimizer.weight_decay": pytest.approx([0.0, 0.0, 0.1]),
    }
    assert population.seeds.tolist() == [1, 2, 1]


def test_put_does_not_change_its_argument(compose):
    base = compose()
    settings.put(base, {"trainer.epochs": 7})
    assert base == compose()


def test_an_integer_is_accepted_for_a_float(compose):
    tree = compose("loss=click", "loss.threshold=4", "data.value_column=v", "data=files", "data.path=x.csv")
    assert type(settings.build(tree["loss"], negatives=None).threshold) is float
    assert type(settings.build(tree["eval"]).threshold) is float
    assert (
        type(settings.build(compose("model=mf", "model.embedding_dim=4")["model"], n_users=2, n_items=3).n_users) is int
    )


def test_differing_keys_include_those_that_only_one_tree_has():
    trees = {"a": {"x": 1, "y": 2}, "b": 3}, {"a": {"x": 1, "y": 4}, "b": 3, "c": 5}, {"a": {"x": 1, "y": 2}, "b": 3}
    assert settings.differing(*trees) == ["a.y", "c"]
    assert settings.differing(trees[0], trees[2]) == []


@pytest.mark.parametrize("value", ["3", "null"])
def test_an_unknown_key_can_be_removed_as_advised(compose, value):
    with pytest.raises(InputError, match=r"model.size is unknown; .* removes it$") as error:
        settings.check(compose(f"+model.size={value}"))
    advice = str(error.value).removesuffix(" removes it").rpartition(": ")[2].split()
    settings.check(compose(f"+model.size={value}", *advice))


@pytest.mark.parametrize("group", ["loss", "negatives", "optimizer", "trainer"])
def test_the_name_of_settings_is_that_of_their_choice(group):
    for file in sorted((settings.CONF / group).glob("*.yaml")):
        content = settings.read(file)
        node = content if "_target_" in content else content.get(group, {})
        if "_target_" in node:
            assert settings.choice_of(group, node) == file.stem


def test_the_name_of_settings_without_a_choice_is_that_of_their_class():
    assert settings.choice_of("negatives", {"_target_": "my_package.sampling.Mine", "ratio": 3}) == "Mine"
