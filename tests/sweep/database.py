"""A PostgreSQL server of its own on the loopback interface, and Optuna's gRPC proxy."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import optuna
import pytest

from jaxrec.sweep.storage import open_storage

PASSWORD = "s3cret-of-the-test"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def opened(url, directory):
    """The study, whose connections are closed afterwards."""
    storage = open_storage(url, directory)
    try:
        yield optuna.load_study(study_name="study", storage=storage)
    finally:
        inner = storage.inner
        inner.close() if hasattr(inner, "close") else inner._backend.engine.dispose()


class Postgres:
    """The server; `url` has its password."""

    def __init__(self):
        pytest.importorskip("psycopg", reason="psycopg is not installed: pip install 'jaxrec[postgres]'")
        found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
        program = shutil.which("postgres") or (found[-1] if found else None)
        if program is None:
            pytest.skip("PostgreSQL is not installed (Debian: apt-get install postgresql)")
        self.programs = Path(program).parent
        self.directory = Path(tempfile.mkdtemp(prefix="jaxrec-postgres-"))
        self.user = {"user": "nobody", "group": "nogroup"} if os.getuid() == 0 else {}  # root may not run the server
        if self.user:
            shutil.chown(self.directory, **self.user)
        password = self.directory / "password"
        password.write_text(PASSWORD)
        password.chmod(0o644)
        self.port = free_port()
        options = ["-A", "scram-sha-256", "-U", "tester", f"--pwfile={password}", "--no-sync"]
        self._run("initdb", "-D", str(self.directory / "data"), *options)
        password.unlink()
        self.url = f"postgresql+psycopg://tester:{PASSWORD}@127.0.0.1:{self.port}/postgres"
        self.start()

    def start(self):
        options = f"-h 127.0.0.1 -p {self.port} -k {self.directory} -c fsync=off"
        self._run(
            "pg_ctl",
            "-D",
            str(self.directory / "data"),
            "-l",
            str(self.directory / "log"),
            "-w",
            "-o",
            options,
            "start",
        )

    def stop(self):
        self._run("pg_ctl", "-D", str(self.directory / "data"), "-m", "fast", "-w", "stop")

    def close(self):
        self.stop()
        shutil.rmtree(self.directory)

    def _run(self, name, *arguments):
        command = [str(self.programs / name), *arguments]
        subprocess.run(command, check=True, cwd="/", stdout=subprocess.DEVNULL, timeout=60, **self.user)


PROXY = """
import sys
from optuna.storages import get_storage, run_grpc_proxy_server
run_grpc_proxy_server(get_storage(sys.argv[1]), host="127.0.0.1", port=int(sys.argv[2]))
"""


class Proxy:
    """The proxy of a SQLite file."""

    def __init__(self, directory):
        pytest.importorskip("grpc", reason="grpc is not installed: pip install grpcio")
        port = free_port()
        self.url = f"grpc://127.0.0.1:{port}"
        file = f"sqlite:///{directory / 'behind.db'}"
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", PROXY, file, str(port)], stderr=subprocess.DEVNULL
        )
        for _ in range(300):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    return
            time.sleep(0.1)

    def close(self):
        self.process.kill()
        self.process.wait()
