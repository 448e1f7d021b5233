"""Access to the server: only under its own names, from its own page, and with the token if one is set.

The check of the Host header stops DNS rebinding: a page of another site whose name resolves to 127.0.0.1. The check of
the Origin header stops pages of other sites that post to a server on the visitor's machine.
"""

import hmac
import ipaddress
import os
from collections.abc import Iterable

from pydantic_core import to_json
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from jaxrec.errors import InputError

TOKEN = "JAXREC_SERVER_TOKEN"  # environment variable
MIN_TOKEN_LENGTH = 16  # characters
WITHOUT_TOKEN = ("/", "/health")  # they hold no data
LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")


class Access:
    """ASGI middleware that refuses requests by another name, from another site's page, or without the token.

    Args:
        app: the application.
        names: accepted names in the Host header; empty: any.
        token: required as `Authorization: Bearer TOKEN`; None: not required.
    """

    def __init__(self, app: ASGIApp, names: Iterable[str] = (), token: str | None = None) -> None:
        self.app, self.token = app, token
        self.names = frozenset(name.lower() for name in names)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a refused request, and pass on all others."""
        refused = self._refusal(scope["path"], Headers(scope=scope)) if scope["type"] == "http" else None
        await (refused or self.app)(scope, receive, send)

    def _refusal(self, path: str, headers: Headers) -> Response | None:
        host = headers.get("host", "")
        if self.names and not host:
            return _problem(403, "send a Host header, e.g. Host: localhost")
        if self.names and _name(host) not in self.names:
            return _problem(403, f"the name {_name(host)[:100]!r} is not served: add it to hosts=[NAME]")
        origin = headers.get("origin")
        if origin is not None and origin.partition("://")[2] != host:
            return _problem(403, "requests from the pages of other sites are not answered")
        if self.token is None or path in WITHOUT_TOKEN:
            return None
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not hmac.compare_digest(given.strip().encode(), self.token.encode()):
            return _problem(401, "send the header Authorization: Bearer TOKEN", {"www-authenticate": "Bearer"})
        return None


def token(address: str) -> str | None:
    """Return the token of the environment variable; a server on other than loopback addresses needs one.

    Args:
        address: the bound IP address.

    Raises:
        InputError: there is none and the address is not loopback, or it is too short.
    """
    given = os.environ.get(TOKEN)
    if given is not None and len(given) < MIN_TOKEN_LENGTH:
        raise InputError(f"{TOKEN} is too short: set at least {MIN_TOKEN_LENGTH} characters (openssl rand -hex 16)")
    if given is None and not is_loopback(address):
        raise InputError(
            f"host={address} is reachable from other machines: set the environment variable {TOKEN} to a secret that "
            "clients send as Authorization: Bearer TOKEN, or host=127.0.0.1"
        )
    return given


def served_names(address: str, host: str, hosts: Iterable[str]) -> tuple[str, ...]:
    """Return the accepted names of a server; empty, i.e. any, if it needs a token and no names are listed.

    Args:
        address: the bound IP address.
        host: the configured host.
        hosts: further names, e.g. of a reverse proxy.
    """
    return (*LOCAL_NAMES, host, *hosts) if is_loopback(address) else tuple(hosts)


def is_loopback(address: str) -> bool:
    """Return whether an IP address can only be reached from this machine."""
    return ipaddress.ip_address(address.partition("%")[0]).is_loopback


def _name(host: str) -> str:
    """Return the name in a Host header, without port and brackets."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].lower()


def _problem(status: int, message: str, headers: dict[str, str] | None = None) -> Response:
    return Response(to_json({"error": message}), status, headers, media_type="application/json")
