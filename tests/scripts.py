"""The scripts as a user runs them, each in a process of its own. Fixture `command` runs them in this one, for less."""

import subprocess
import sys
from pathlib import Path

from tests.paths import ROOT


def script(*arguments: str, name: str = "train", cwd: Path | None = None) -> subprocess.CompletedProcess:
    """Runs scripts/NAME.py to its end."""
    line = [sys.executable, str(ROOT / "scripts" / f"{name}.py"), *arguments]
    return subprocess.run(line, capture_output=True, text=True, cwd=cwd, check=False)
