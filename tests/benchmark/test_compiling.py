"""Programs are compiled for devices that may be absent, counted, and timed where they are present."""

import json

import pytest

from jaxrec import settings
from jaxrec.benchmark import cases, compiling
from jaxrec.compiled import targets
from jaxrec.compiled.targets import Rates, Target
from jaxrec.errors import InputError
from tests.paths import ROOT
from tests.planted import PLANTED

SLOW = Rates(1e9, 1e9, 1e9, 1e9, 1e9, 1e9, 1e-6)


@pytest.fixture
def compiled(compose, monkeypatch, tmp_path):
    """`compiled(overrides, target=…, …)`: the rows of case=compile on planted data."""
    monkeypatch.setattr(compiling, "measured_rates", lambda: SLOW)
    monkeypatch.setattr(compiling, "only_cpu", lambda: None)
    monkeypatch.setattr("jax.config.update", lambda *option: None)  # the cache stays on

    def run(*overrides, target="cpu", topology="1", members=(1,), compare=None):
        tree, out = compose(*PLANTED, *overrides), tmp_path / "out.json"
        chosen = {"target": target, "topology": topology, "members": members}
        return cases.run(tree, "compile", 1, out, None, compare, chosen), out

    return run


def test_programs_of_the_devices_at_hand_are_counted_and_timed(compiled):
    rows, out = compiled("model=mf", "trainer.batch_size=1000")
    assert [row["program"] for row in rows] == ["epoch", "validation", "ranking"]
    epoch = rows[0]
    # 7,200 interactions are 8 steps; each multiplies and adds two vectors for 1,000 pairs of two items.
    assert epoch["gflop"] > 8 * 2 * 2 * 1000 * 128 * 1e-9
    assert epoch["measured_s"] > 0
    assert "fits" not in epoch  # host memory is not queried
    assert json.loads(out.read_text())["rows"] == rows


@pytest.mark.slow
def test_what_changed_since_an_earlier_result_is_shown(compiled, capsys):
    _, out = compiled("model=mf")
    earlier = json.loads(out.read_text())
    earlier["rows"][0]["kernels"] = 1
    kept = out.with_name("earlier.json")
    kept.write_text(json.dumps(earlier))
    capsys.readouterr()
    compiled("model=mf", compare=str(kept))
    assert "changes since" in capsys.readouterr().out
    with pytest.raises(InputError, match="is not a result of jaxrec benchmark"):
        compiled("model=mf", compare=str(ROOT / "README.md"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target": "a100"}, "target=a100: must be one of h100, h200, v5e, v5p, v6e, cpu"),
        ({"target": "h200", "topology": "two"}, "topology=two: must be a number of devices or a grid"),
        ({"target": "v5e", "topology": "0"}, "topology=0: must be a number of devices or a grid"),
    ],
)
def test_unknown_devices(compiled, options, message):
    with pytest.raises(InputError, match=message):
        compiled("model=mf", **options)


@pytest.mark.parametrize(("target", "extra"), [("h200", "cuda13"), ("v5e", "tpu")])
def test_a_missing_compiler_names_what_to_install(compiled, monkeypatch, target, extra):
    def missing(*names, **options):
        raise RuntimeError("Unknown backend")

    monkeypatch.setattr("jax.experimental.topologies.get_topology_desc", missing)
    with pytest.raises(InputError, match=rf"Unknown backend.*pip install 'jaxrec\[{extra}\]'"):
        compiled("model=mf", target=target)


def test_the_largest_population_lies_on_a_line():
    def of(members, needed):
        return {"program": "epoch", "members": members, "needed_mib": needed}

    rows = [of(1, 30.0), of(8, 100.0), of(64, 660.0)]  # 20 MiB, and 10 for each member
    assert [row["largest"] for row in compiling._with_largest(rows, 1020 * 2**20)] == [100, 100, 100]


def test_closed_forms_have_no_epoch(compiled):
    with pytest.raises(InputError, match="case=compile needs a model that is trained in epochs"):
        compiled("model=ease")


MODELS = ("mf", "mf_cosine", "lightgcn", "gmf", "mlp", "neumf", "ancf", "softmax_dnn", "dlrm", "mult_vae", "ials")
SEQUENCES = ("sasrec", "hstu", "lru", "bert4rec", "gru4rec", "nextitnet")
CHOICES = [f"model={name}" for name in MODELS]
CHOICES += [f"model={name} model.history_length=12" for name in SEQUENCES]
CHOICES += ["model=ancf_history"]
CHOICES += [
    f"model=mf negatives={path.stem}"
    for path in sorted((ROOT / "conf" / "negatives").glob("*.yaml"))
    if path.stem not in ("none", "given", "uniform")
]
CHOICES += [f"model=mf optimizer={name}" for name in ("adagrad", "sgd", "row_sgd", "row_adagrad")]
CHOICES += ["model=mf loss=softmax", "model=mf loss=bce", "model=mf loss=sampled_softmax"]
CHOICES += [f"model=sasrec loss=sequence_{name}" for name in ("bce", "gbce", "sampled_softmax")]


@pytest.mark.slow
@pytest.mark.parametrize("target", ["h200", "v5e"])
@pytest.mark.parametrize("run", CHOICES)
def test_real_compilers_take_every_program(compose, target, run):
    try:
        devices = targets.absent_devices(target, "1")
    except InputError as error:
        pytest.skip(str(error))
    tree = compose(*PLANTED, *run.split())
    settings.check(tree)
    rows = compiling.rows_for(tree, devices, targets.TARGETS[target], (2,))
    assert not [row["error"] for row in rows if "error" in row]
    assert all(row["transfers"] == 0 and row["fits"] for row in rows)
    assert isinstance(targets.TARGETS[target], Target)
