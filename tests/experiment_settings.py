"""Settings under which the results in conf/experiment were measured: `python -m tests.experiment_settings` writes them.

A default that changes later must not change a published experiment: pin the old value in its file, or measure it again.
"""

from collections.abc import Callable

import yaml

from jaxrec.settings import CONF, Tree
from tests.paths import ROOT

FILE = ROOT / "tests" / "fixtures" / "experiments.yaml"
EXPERIMENTS = sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))
SECTIONS = ("split", "model", "loss", "negatives", "optimizer", "trainer", "refit")
WITHOUT_EFFECT = {"_partial_", "members", "mesh", "save_minutes", "precision", "loss_scale"}


def settings_of(name: str, compose: Callable[..., Tree]) -> tuple[Tree, Tree]:
    """Return the settings of an experiment, and the part of them that its results depend on."""
    given = "split: given" in (CONF / "experiment" / f"{name}.yaml").read_text()
    tree = compose(f"experiment={name}", *(["data.train=A", "data.test=B"] if given else ["data.path=FILE"]))
    return tree, {section: _plain(tree[section]) for section in SECTIONS}


def _plain(value: object) -> object:
    if isinstance(value, dict):
        return {key: _plain(child) for key, child in value.items() if key not in WITHOUT_EFFECT}
    return [_plain(child) for child in value] if isinstance(value, list | tuple) else value


def main() -> None:
    """Write the file."""
    from jaxrec.config import compose

    found = {name: settings_of(name, lambda *overrides: compose(overrides))[1] for name in EXPERIMENTS}
    FILE.write_text(yaml.safe_dump(found, sort_keys=False, default_flow_style=None, width=100))


if __name__ == "__main__":
    main()
