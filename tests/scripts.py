"""Scripts run in processes of their own. Fixture `command` runs commands in this process, which is faster."""

import subprocess
import sys
from pathlib import Path

from tests.paths import ROOT


def script(*arguments: str, name: str = "train", cwd: Path | None = None) -> subprocess.CompletedProcess:
    """Run scripts/NAME.py to its end."""
    line = [sys.executable, str(ROOT / "scripts" / f"{name}.py"), *arguments]
    return subprocess.run(line, capture_output=True, text=True, cwd=cwd, check=False)
