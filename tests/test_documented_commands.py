"""Every command of README, docs and conf that trains is read by a shell and composed by Hydra."""

import re
import shlex

import pytest

from tests.paths import ROOT

FILES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), *sorted((ROOT / "conf").rglob("*.yaml"))]


def commands():
    for path in FILES:
        text = re.sub(r"\\\n#?", " ", path.read_text(encoding="utf-8"))
        for found in re.findall(r"^(?:#\s+)?python scripts/train\.py.*$", text, re.MULTILINE):
            words = shlex.split(found.lstrip("# "), comments=True)[2:]
            whole = not any("$" in word or "…" in word or word.isupper() or word == "," for word in words)
            if whole and not any(word.startswith("--") for word in words):
                yield pytest.param(words, id=f"{path.name}: {' '.join(words)}"[:90])


@pytest.mark.parametrize("words", list(commands()))
def test_it_composes(words, compose):
    tree = compose(*words)
    assert "_target_" in tree["model"]
