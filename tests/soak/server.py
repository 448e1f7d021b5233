"""A server process with little patience."""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from tests.paths import ROOT

REQUEST_SECONDS = 2  # that a client has for a request
EVENTS = 20  # kept per user: after some minutes their memory does not grow
START_SECONDS = 120


@contextlib.contextmanager
def serving(run: Path, log: Path) -> Iterator[tuple[int, int]]:
    """Serve a run; what is yielded are the id of the process and its port."""
    line = [sys.executable, "-m", "jaxrec", "serve", f"run={run}", "port=0"]
    line += [f"limits.request_seconds={REQUEST_SECONDS}", f"limits.user_items={EVENTS}"]
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}
    with log.open("wb") as output, subprocess.Popen(line, stdout=output, stderr=output, env=environment) as process:
        try:
            yield process.pid, _port(process, log)
        finally:
            process.terminate()
            process.wait()


def _port(process: subprocess.Popen, log: Path) -> int:
    """Wait until the server is ready; return its port."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        for text in log.read_text(errors="replace").splitlines(keepends=True):
            if text.startswith("ready: ") and text.endswith("\n"):
                return int(text.rsplit(":", 1)[1])
        time.sleep(0.1)
    raise RuntimeError(f"the server did not start: {log.read_text(errors='replace')[-2000:]}")
