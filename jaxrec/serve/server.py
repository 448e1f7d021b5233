"""A run directory → a server that answers, on this machine alone unless told otherwise."""

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
from jaxrec.recommend.recommender import load
from jaxrec.serve.app import application
from jaxrec.serve.limits import Limits
from jaxrec.serve.service import Service

GRACE = 5  # seconds that requests have to end when the server is told to stop


def run(run: str, host: str, port: int, limits: Limits) -> None:
    """Serves until it is told to stop. Listens once every program is compiled, and says where.

    host: 127.0.0.1 answers this machine alone, 0.0.0.0 whoever can reach it: there is no authentication
    port: 0 takes one that is free

    Raises InputError for a run without a readable model, and where nobody can listen at host and port.
    """
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    service = Service.of(load(run), limits, Path(run).resolve().name)
    with _bound(host, port) as bound:
        started = time.perf_counter()
        n_programs = service.warm()
        say(f"{n_programs} programs compiled in {time.perf_counter() - started:.1f} s")
        # Python looks through all objects now and then, and stops the world for that; those of compiling are left out.
        gc.collect()
        gc.freeze()
        config = uvicorn.Config(
            application(service),
            log_level="warning",
            access_log=False,
            proxy_headers=False,  # nothing here goes by who asks
            timeout_graceful_shutdown=GRACE,
        )
        _Announced(config).run(sockets=[bound])


class _Announced(uvicorn.Server):
    """Says where it listens, once it does."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for bound in sockets or ():
            host, port = bound.getsockname()[:2]
            say(f"ready: http://{f'[{host}]' if ':' in host else host}:{port}")
        sys.stdout.flush()  # who waits for this line may read it through a pipe


def _bound(host: str, port: int) -> socket.socket:
    """Taken before the work of compiling, so that a port in use is known at once; nobody is let in before that ends."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with contextlib.ExitStack() as opened:
            bound = opened.enter_context(socket.socket(family, kind, protocol))
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind(address)
            opened.pop_all()  # it stays open
    except (OSError, OverflowError) as error:
        raise InputError(f"cannot listen at host={host} port={port}: {error}; choose others") from error
    return bound
