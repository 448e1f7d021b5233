"""Load test of the server in a separate process, over many concurrent connections."""

import asyncio
import contextlib
import gc
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxrec.checkpoint import save_params
from jaxrec.data.interactions import Interactions
from jaxrec.errors import InputError
from jaxrec.history import History
from jaxrec.query import Query
from jaxrec.recommend.recommender import load
from jaxrec.recommend.stored_model import model_to_store
from jaxrec.settings import Tree, build

CONNECTIONS, SECONDS = 64, 6.0
OVERLOAD = 400  # connections of the overload test
QUEUE = 32  # queue limit of the overload test


class Load(NamedTuple):
    """Latencies by status code, in seconds, and the total duration."""

    seconds: dict[int, list[float]]
    wall: float

    def row(self) -> dict[str, float]:
        """Return requests per second, and the median and 99th-percentile latency in milliseconds."""
        good = np.array(self.seconds.get(200, [np.nan])) * 1000
        p50, p99 = np.percentile(good, [50, 99])
        counts = {f"status_{status}": len(seconds) for status, seconds in sorted(self.seconds.items())}
        return {
            "requests_per_s": round(len(good) / self.wall),
            "p50_ms": round(p50, 1),
            "p99_ms": round(p99, 1),
            **counts,
        }


def serve(tree: Tree, repeats: int) -> Iterator[tuple[str, list[float], dict[str, float]]]:
    """Yield name, 99th-percentile latency of each repeat in seconds, and figures of the last repeat.

    A model with random parameters is served with batching, then one request at a time; compared with a loop without a
    server; then under overload (rejections and their latency), and after it.
    """
    with tempfile.TemporaryDirectory() as folder:
        n_users = _run(tree, Path(folder))
        for name, overrides in (("batches", []), ("one at a time", ["limits.batch_sizes=[1]", "limits.window_ms=0"])):
            with _server(folder, *overrides) as port:
                asyncio.run(_load(port, n_users, CONNECTIONS, 2.0))  # warm sockets and caches
                loads = [asyncio.run(_load(port, n_users, CONNECTIONS, SECONDS)) for _ in range(repeats)]
            yield name, [np.percentile(load.seconds[200], 99).item() for load in loads], loads[-1].row()
        yield "loop without a server", *_loop(folder, n_users)
        with _server(folder, f"limits.queue={QUEUE}") as port:
            over = asyncio.run(_load(port, n_users, OVERLOAD, SECONDS))
            after = asyncio.run(_load(port, n_users, QUEUE // 2, 3.0))
        refused = np.array(over.seconds.get(503, [np.nan]))
        figures = over.row() | {"refused_p99_ms": round(float(np.percentile(refused, 99)) * 1000, 1)}
        yield f"overload, {OVERLOAD} connections", [float(np.percentile(refused, 99))], figures
        yield "after it", [float(np.percentile(after.seconds[200], 99))], after.row()


def _run(tree: Tree, folder: Path) -> int:
    """Write a minimal run directory: the data's users and histories, and random parameters."""
    data: Interactions = build(tree["data"])
    longest = int(np.bincount(data.user).max(initial=1))
    sizes = {"n_users": data.n_users, "n_items": data.n_items, "history_length": longest}
    own = {name: size for name, size in sizes.items() if name not in tree["model"]}
    model = build(tree["model"], **own)
    query = Query(jnp.zeros(1, jnp.int32), History(jnp.full((1, model.history_length or 1), -1, jnp.int32)))
    shapes: object = jax.eval_shape(model.init, jax.random.key(0), query, jnp.zeros((1, 1), jnp.int32))
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda leaf: rng.normal(0, 0.1, leaf.shape).astype(leaf.dtype), shapes)
    known = {f"known_{name}": column for name, column in data.histories._asdict().items()}
    extra = {**model_to_store(model), "user_ids": data.user_ids, "item_ids": data.item_ids, **known}
    save_params(folder / "model", params, extra=extra)
    return data.n_users


def _loop(folder: str, n_users: int) -> tuple[list[float], dict[str, float]]:
    """Time sequential lists with the single-row program, in this process."""
    recommender, user = load(folder), np.zeros(1, np.int64)
    length = 1 << int(np.diff(recommender.known.offsets).max() - 1).bit_length()
    recommend, seconds = recommender.batch_recommender(10, 1, length), []
    rng = np.random.default_rng(0)
    recommend(user, recommender.histories(user, length))
    started = time.perf_counter()
    while time.perf_counter() < started + SECONDS / 2:
        user[0] = rng.integers(n_users)
        sent = time.perf_counter()
        recommend(user, recommender.histories(user, length))
        seconds.append(time.perf_counter() - sent)
    figures = Load({200: seconds}, time.perf_counter() - started).row()
    return [float(np.percentile(seconds, 99))], figures


@contextlib.contextmanager
def _server(run: str, *overrides: str) -> Iterator[int]:
    """Start a server process; yield its port once it is ready."""
    call = [sys.executable, "-u", "-m", "jaxrec", "serve", f"run={run}", "port=0", *overrides]
    with subprocess.Popen(call, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            ready = next((line for line in process.stdout if line.startswith("ready: ")), None)
            if ready is None:
                raise InputError("the server did not start: see its output above")
            yield int(ready.rsplit(":", 1)[1])
        finally:
            process.terminate()
            process.wait()


async def _load(port: int, n_users: int, connections: int, seconds: float) -> Load:
    """Send requests for random users on every connection, one after the other."""
    gc.collect()
    gc.freeze()  # exclude garbage collection pauses of the client
    latencies: dict[int, list[float]] = {}
    rng = np.random.default_rng(0)
    started = time.perf_counter()

    async def ask() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        with contextlib.closing(writer):
            while (sent := time.perf_counter()) < started + seconds:
                body = json.dumps({"user": int(rng.integers(n_users))}).encode()
                head = f"POST /recommend HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n"
                writer.write(f"{head}Content-Type: application/json\r\n\r\n".encode() + body)
                answer = (await reader.readuntil(b"\r\n\r\n")).lower()
                await reader.readexactly(int(answer.partition(b"content-length: ")[2].partition(b"\r\n")[0]))
                latencies.setdefault(int(answer[9:12]), []).append(time.perf_counter() - sent)
                if answer[9:12] != b"200":
                    await asyncio.sleep(0.05)  # back off after a rejection

    await asyncio.gather(*(ask() for _ in range(connections)))
    return Load(latencies, time.perf_counter() - started)
