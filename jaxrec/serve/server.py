"""HTTP server of a run directory."""

import contextlib
import gc
import logging
import socket
import sys
import time
from pathlib import Path

import uvicorn

from jaxrec.console import say
from jaxrec.errors import InputError
from jaxrec.machine import single_threaded_blas
from jaxrec.recommend.recommender import load
from jaxrec.serve import access
from jaxrec.serve.app import application
from jaxrec.serve.connections import limited
from jaxrec.serve.limits import Limits
from jaxrec.serve.service import Service

GRACE = 5  # seconds for running requests to finish on shutdown


def run(run: str, host: str, port: int, hosts: tuple[str, ...], limits: Limits) -> None:
    """Serve a run until interrupted; print the address once every program is compiled.

    Args:
        run: a run directory.
        host: 127.0.0.1 for this machine only, 0.0.0.0 for all networks, which needs a token, see `access`.
        port: 0 selects a free port.
        hosts: further names in the Host header.
        limits: limits of requests, queue and memory.

    Raises:
        InputError: the run has no readable model, the address is not available, or it needs a token.
    """
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    service = Service.of(load(run), limits, Path(run).resolve().name)
    # Vectors of new users are solved for at every request.
    with _bind(host, port) as bound, single_threaded_blas():
        address = bound.getsockname()[0]
        names, secret = access.served_names(address, host, hosts), access.token(address)
        say("compiling ...")
        started = time.perf_counter()
        n_programs = service.warm()
        say(f"{n_programs} programs compiled in {time.perf_counter() - started:.1f} s")
        # Garbage collection pauses all threads; freezing excludes the many objects created by compilation.
        gc.collect()
        gc.freeze()
        config = uvicorn.Config(
            access.Access(application(service), names, secret),
            http=limited(limits),
            ws="none",
            log_level="error",  # not a line per invalid request
            access_log=False,
            proxy_headers=False,  # the client address is not used
            timeout_graceful_shutdown=GRACE,
        )
        _Announced(config).run(sockets=[bound])


class _Announced(uvicorn.Server):
    """Uvicorn server that prints its address once it is listening."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for bound in sockets or ():
            host, port = bound.getsockname()[:2]
            say(f"ready: http://{f'[{host}]' if ':' in host else host}:{port}")
        sys.stdout.flush()  # the line may be read through a pipe


def _bind(host: str, port: int) -> socket.socket:
    """Bind the socket before compilation, so that a port in use fails early; connections are accepted afterwards."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with contextlib.ExitStack() as opened:
            bound = opened.enter_context(socket.socket(family, kind, protocol))
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind(address)
            opened.pop_all()  # keep the socket open
    except (OSError, OverflowError) as error:
        raise InputError(f"cannot listen on host={host} port={port}: {error}; choose another host or port") from error
    return bound
