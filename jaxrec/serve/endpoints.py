"""Endpoints of the server and their OpenAPI description, from one table."""

from collections.abc import Awaitable, Callable
from typing import NamedTuple

from pydantic.json_schema import JsonSchemaValue, models_json_schema

from jaxrec import __version__
from jaxrec.serve import messages
from jaxrec.serve.messages import Message, Problem
from jaxrec.serve.service import Service


class Endpoint(NamedTuple):
    """Method and path, request message (body of a POST, else query parameters), response message, service method."""

    method: str
    path: str
    request: type[Message]
    response: type[Message]
    answer: Callable[..., Awaitable[dict[str, object]]]

    @property
    def summary(self) -> str:
        """One-sentence description of the endpoint."""
        return (self.answer.__doc__ or "").strip()


ENDPOINTS = (
    Endpoint("POST", "/recommend", messages.RecommendRequest, messages.Recommendations, Service.recommend),
    Endpoint("POST", "/explain", messages.ExplainRequest, messages.Explanation, Service.explain),
    Endpoint("POST", "/events", messages.EventsRequest, messages.Accepted, Service.events),
    Endpoint("GET", "/similar", messages.SimilarRequest, messages.SimilarItems, Service.similar),
    Endpoint("GET", "/items", messages.ItemsRequest, messages.Items, Service.items),
    Endpoint("GET", "/history", messages.HistoryRequest, messages.UserHistory, Service.history),
    Endpoint("GET", "/about", messages.NoParameters, messages.About, Service.about),
    Endpoint("GET", "/health", messages.NoParameters, messages.Health, Service.health),
)

PROBLEMS = {
    "400": "The body is not valid JSON.",
    "401": "The Authorization header lacks the token.",
    "403": "The Host or Origin header names another site.",
    "404": "Unknown user or item.",
    "413": "The body is too large.",
    "415": "The Content-Type header is not application/json.",
    "422": "A value is missing, unknown, of the wrong type or out of range; the message names it.",
    "500": "Internal server error; see the server log.",
    "503": "The queue is full; retry after the number of seconds in the Retry-After header.",
}


def openapi(name: str) -> JsonSchemaValue:
    """Return the OpenAPI 3.1 description of all endpoints."""
    used = {message for endpoint in ENDPOINTS for message in (endpoint.request, endpoint.response)} | {Problem}
    ordered = sorted(used, key=lambda message: message.__name__)
    _, schemas = models_json_schema(
        [(message, "validation") for message in ordered], ref_template="#/components/schemas/{model}"
    )
    definitions = schemas["$defs"]
    return {
        "openapi": "3.1.0",
        "info": {"title": f"jaxrec: {name}", "version": __version__},
        "paths": {e.path: {e.method.lower(): _operation(e, definitions)} for e in ENDPOINTS},
        "components": {"schemas": definitions},
    }


def _operation(endpoint: Endpoint, definitions: JsonSchemaValue) -> JsonSchemaValue:
    inputs: JsonSchemaValue
    if endpoint.method == "POST":
        inputs = {"requestBody": {"required": True, "content": _json(endpoint.request)}}
    else:
        schema = definitions[endpoint.request.__name__]
        required = schema.get("required", [])
        inputs = {
            "parameters": [
                {"name": name, "in": "query", "required": name in required, "schema": about}
                for name, about in schema.get("properties", {}).items()
            ]
        }
    responses = {"200": {"description": (endpoint.response.__doc__ or "").strip(), "content": _json(endpoint.response)}}
    problems = {status: {"description": why, "content": _json(Problem)} for status, why in PROBLEMS.items()}
    return {"operationId": endpoint.path[1:], "summary": endpoint.summary, **inputs, "responses": responses | problems}


def _json(message: type[Message]) -> JsonSchemaValue:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{message.__name__}"}}}
