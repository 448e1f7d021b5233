"""Processes of one run: they join through JAX, the first one writes, and if one is lost, all others end.

JAX finds the processes of a Slurm job, a Kubernetes job or a TPU pod by itself; elsewhere three environment variables
name them. A process that dies would leave the others waiting for its part of a sum, so each is connected to the first,
which learns at once that a connection has closed, and closes its own.
"""

import contextlib
import os
import socket
import struct
import sys
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax._src.distributed import global_state  # has the address of the first process, which JAX may have detected
from jax.experimental import multihost_utils

from jaxrec.errors import InputError, first_line
from jaxrec.machine import use_all_cores

VARIABLES = "JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID"
DONE, FAILED = b".", b"!"  # last message of a process
GRACE_SECONDS = 10  # for the others to fail by the same error, or to end
LOSS_SECONDS = 3
SILENT_SECONDS = 30  # a host that does not answer for so long is lost


class _Peer(NamedTuple):
    """Another process, the connection with it, and the thread that waits for its last message."""

    number: int
    connection: socket.socket
    thread: threading.Thread


_peers: list[_Peer] = []
_leaving = threading.Event()


def join() -> None:
    """Join the other processes of this run; must come before anything else uses JAX.

    Raises:
        InputError: there are no other processes, or they do not answer.
    """
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.config.update("jax_enable_recoverability", True)  # else JAX ends the others with a stack trace
    jax.config.update("jax_enable_preemption_service", False)  # it would catch SIGTERM, and training go on
    try:
        jax.distributed.initialize(**_from_variables(), initialization_timeout=120)
    except (ValueError, RuntimeError) as error:
        raise InputError(
            f"cluster=true finds no cluster ({first_line(error)}): start jobs by Slurm or Kubernetes, on a TPU pod, "
            f"or set {', '.join(VARIABLES)} for each process"
        ) from error
    use_all_cores()
    _watch()


def _from_variables() -> dict[str, Any]:
    """Arguments of `jax.distributed.initialize` in environment variables; none: JAX detects the cluster."""
    given = {name: os.environ.get(name) for name in VARIABLES}
    if not (given[VARIABLES[1]] or given[VARIABLES[2]]):
        return {}
    try:
        address, n, process = (given[name] or "" for name in VARIABLES)
        return {"coordinator_address": address or None, "num_processes": int(n), "process_id": int(process)}
    except ValueError:
        values = " ".join(f"{name}={value}" for name, value in given.items())
        raise InputError(f"{values}: the last two must be numbers, e.g. 2 and 0") from None


def is_joined() -> bool:
    """Whether this process is one of several of a run."""
    return bool(jax.distributed.is_initialized()) and jax.process_count() > 1


def is_first() -> bool:
    """Whether this process writes the results."""
    return not is_joined() or jax.process_index() == 0


def broadcast(value: int) -> int:
    """Return the value of the first process on every process."""
    return int(multihost_utils.broadcast_one_to_all(np.int32(value))) if is_joined() else value


def broadcast_path(path: Path) -> Path:
    """Return the path of the first process on every process."""
    if not is_joined():
        return path
    text = str(path.absolute()).encode()
    letters = np.zeros(broadcast(len(text)), np.uint8)
    letters[: len(text)] = np.frombuffer(text, np.uint8)[: len(letters)]
    return Path(multihost_utils.broadcast_one_to_all(letters).tobytes().decode())


def leave(code: int) -> None:
    """Notify the other processes, which end too if this one has failed, and exit.

    The first process leaves last, because JAX aborts the others when it is gone.
    """
    _leaving.set()
    for _, connection, _ in _peers:
        with contextlib.suppress(OSError):  # it has left before
            connection.sendall(FAILED if code else DONE)
    if not _peers:
        return
    if is_first():
        for _, _, thread in _peers:
            thread.join(GRACE_SECONDS + 5)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # JAX would wait for the others, or for some that are gone


def await_loss() -> None:
    """Let this process end by the loss of another, which fails a sum with it before its connection is seen to close."""
    time.sleep(LOSS_SECONDS)


def _watch() -> None:
    """Connect every process with the first one, and end this process when a connection breaks."""
    if jax.process_count() == 1:
        return
    if jax.process_index() == 0:
        listener = socket.create_server(("", 0), family=socket.AF_INET)
        broadcast(listener.getsockname()[1])
        for _ in range(jax.process_count() - 1):
            connection, _ = listener.accept()
            (number,) = struct.unpack("<I", _read(connection, 4))
            _listen(connection, number)
    else:
        host = str(global_state.coordinator_address).rpartition(":")[0]
        connection = socket.create_connection((host, broadcast(0)))
        connection.sendall(struct.pack("<I", jax.process_index()))
        _listen(connection, 0)


def _read(connection: socket.socket, n: int) -> bytes:
    found = b""
    while len(found) < n and (part := connection.recv(n - len(found))):
        found += part
    return found


def _listen(connection: socket.socket, number: int) -> None:
    """Wait in a thread for the last message of process `number`."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", 10), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", (SILENT_SECONDS - 10) // 5)):
        if hasattr(socket, name):
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    thread = threading.Thread(target=_end_with, args=(connection, number), daemon=True)
    _peers.append(_Peer(number, connection, thread))
    thread.start()


def _end_with(connection: socket.socket, number: int) -> None:
    """End this process if process `number` fails, or is lost: its connection closes without a last message."""
    try:
        word = connection.recv(1)
    except OSError:
        word = b""
    # After another's failure this process probably fails by the same error.
    if word == DONE or _leaving.wait(GRACE_SECONDS if word == FAILED else 0):
        return
    lost = "failed, see its output" if word == FAILED else "was lost"
    print(
        f"error: process {number} of {jax.process_count()} {lost}; this one ends, too: start all processes again to "
        "continue from the last saved training state",
        file=sys.stderr,
        flush=True,
    )
    if is_first():  # the others learn it from closed connections, before JAX aborts them
        for peer in _peers:
            with contextlib.suppress(OSError):
                peer.connection.shutdown(socket.SHUT_RDWR)
        time.sleep(1)
    os._exit(1)
