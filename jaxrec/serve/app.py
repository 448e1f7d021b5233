"""ASGI application of the service: requests are validated, and every response, including errors, is JSON."""

import base64
import hashlib
import json
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from importlib.resources import files

from pydantic import ValidationError
from pydantic_core import to_json
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from jaxrec.errors import InputError
from jaxrec.serve.batching import OverloadedError
from jaxrec.serve.catalog import UnknownIdError
from jaxrec.serve.endpoints import ENDPOINTS, Endpoint, openapi
from jaxrec.serve.messages import Message
from jaxrec.serve.service import Service
from jaxrec.serve.telemetry import Telemetry

log = logging.getLogger(__name__)

# The page is one self-contained file: even if item titles contain markup, nothing is loaded from other origins.
# Only its own script runs.
POLICY = "default-src 'none'; connect-src 'self'; img-src data:; style-src 'unsafe-inline'; frame-ancestors 'none'"
MAX_ERRORS = 3  # validation errors listed per response


def application(service: Service) -> Starlette:
    """Return the application: the service's endpoints, the page at /, /openapi.json and /metrics."""
    telemetry = Telemetry()
    service.lists.on_batch = telemetry.batch_rows.observe
    telemetry.gauge("jaxrec_waiting", "Requests in the queue.", lambda: service.lists.waiting + service.single.waiting)
    telemetry.gauge("jaxrec_updated_users", "Users with events in memory.", lambda: len(service.updates))
    telemetry.gauge("jaxrec_forgotten_users", "Users whose events were evicted.", lambda: service.updates.evicted)
    page = files("jaxrec.serve").joinpath("page.html").read_text(encoding="utf-8")
    page_headers = {"content-security-policy": _policy(page), "x-content-type-options": "nosniff"}
    description = json.dumps(openapi(service.run))

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with service:
            yield

    async def show_page(request: Request) -> Response:
        return HTMLResponse(page, headers=page_headers)

    async def show_description(request: Request) -> Response:
        return Response(description, media_type="application/json")

    async def show_metrics(request: Request) -> Response:
        return Response(telemetry.text(), headers={"content-type": telemetry.content_type})

    app = Starlette(
        routes=[
            *(Route(e.path, _handler(e, service, telemetry), methods=[e.method]) for e in ENDPOINTS),
            Route("/", show_page),
            Route("/openapi.json", show_description),
            Route("/metrics", show_metrics),
        ],
        exception_handlers={HTTPException: _http_error},
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False
    return app


def _policy(page: str) -> str:
    script = page.partition('<script type="module">')[2].partition("</script>")[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return f"{POLICY}; script-src 'sha256-{digest}'"


def _handler(endpoint: Endpoint, service: Service, telemetry: Telemetry) -> Callable[[Request], Awaitable[Response]]:
    async def handle(request: Request) -> Response:
        started = time.perf_counter()
        response = await _respond(endpoint, service, request)
        telemetry.observe(endpoint.path, response.status_code, time.perf_counter() - started)
        return response

    return handle


async def _respond(endpoint: Endpoint, service: Service, request: Request) -> Response:
    try:
        message = await _message(endpoint, request, service.limits.max_body)
        answer = await endpoint.answer(service, message)
        return _json(503 if answer.get("status") == "stuck" else 200, answer)
    except ValidationError as error:
        status = 400 if error.errors(include_url=False)[0]["type"] == "json_invalid" else 422
        return _problem(status, _validation_message(error, endpoint.request))
    except UnknownIdError as error:
        return _problem(404, str(error))
    except InputError as error:
        return _problem(422, str(error))
    except OverloadedError as error:
        return _problem(503, str(error), {"retry-after": str(error.retry_after)})
    except HTTPException as error:
        return _problem(error.status_code, error.detail, error.headers)
    except ClientDisconnect:
        return _problem(400, "the client disconnected")
    except Exception:
        log.exception("%s %s failed", endpoint.method, endpoint.path)
        return _problem(500, "internal server error: see the server log")


async def _message(endpoint: Endpoint, request: Request, max_body: int) -> Message:
    """Parse a request; reading stops once the body exceeds `max_body` bytes."""
    if endpoint.method == "GET":
        given = [name for name, _ in request.query_params.multi_items()]
        if repeated := [name for name in given if given.count(name) > 1]:
            raise InputError(f"{repeated[0][:100]}: given {given.count(repeated[0])} times: give it once")
        return endpoint.request.model_validate(dict(request.query_params))
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise HTTPException(415, "send JSON with the header Content-Type: application/json")
    body = bytearray()
    length = request.headers.get("content-length", "0")
    if not (length.isascii() and length.isdigit()):
        raise HTTPException(400, "the Content-Length header must be a number")
    too_large = len(length) > 18 or int(length) > max_body
    if not too_large:
        async for part in request.stream():
            body += part
            if too_large := len(body) > max_body:
                break
    if too_large:
        raise HTTPException(413, f"the request body must be at most {max_body} bytes", {"connection": "close"})
    return endpoint.request.model_validate_json(bytes(body), strict=True)


def _validation_message(error: ValidationError, message: type[Message]) -> str:
    """Describe validation errors without the input values, which may be long."""
    messages = []
    for problem in error.errors(include_url=False, include_input=False, include_context=False):
        location = ".".join(str(part) for part in problem["loc"])[:100]
        reason = problem["msg"].removeprefix("Value error, ").replace("Input should be", "must be", 1)
        if problem["type"] == "missing":
            reason = "required"
        elif problem["type"] == "extra_forbidden":
            is_nested = len(problem["loc"]) > 1
            reason = "unknown" if is_nested else f"unknown; allowed: {', '.join(message.model_fields) or 'nothing'}"
        messages.append(f"{location}: {reason}" if location else reason)
    more = f"; and {len(messages) - MAX_ERRORS} more" if len(messages) > MAX_ERRORS else ""
    return "; ".join(messages[:MAX_ERRORS]) + more


async def _http_error(request: Request, error: Exception) -> Response:
    """Return errors raised by Starlette, e.g. an unknown path or method, as JSON."""
    assert isinstance(error, HTTPException)
    return _problem(error.status_code, f"{request.method} {request.scope['path'][:100]}: {error.detail}", error.headers)


def _problem(status: int, message: str, headers: Mapping[str, str] | None = None) -> Response:
    return _json(status, {"error": message}, headers)


def _json(status: int, value: dict[str, object], headers: Mapping[str, str] | None = None) -> Response:
    return Response(to_json(value), status, headers, media_type="application/json")
