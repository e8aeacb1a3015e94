"""The OpenAPI description, and /docs: the same as a plain HTML page, without any script."""

from html import escape
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from starlette.responses import HTMLResponse

from service.api.problems import MEDIA_TYPE, Problem

router = APIRouter(include_in_schema=False)

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; frame-ancestors 'none'; "
    "base-uri 'none'; form-action 'none'",
    "Cache-Control": "no-cache",
}
INTRODUCTION = (
    "Send <code>Authorization: Bearer KEY</code>. Every failure is an RFC 9457 problem document "
    "with a machine-readable <code>reason</code>. The same description for programs is at "
    '<a href="/openapi.json">/openapi.json</a>.'
)


FAILURES = {
    "422": "Unprocessable Content",
    "429": "Too Many Requests",
    "500": "Internal Server Error",
}
"""What FastAPI describes in its own form, and what any route may answer."""
OF_ANY_ROUTE = {"429", "500"}
CONFLICT = {
    "description": "Conflict",
    "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
}
"""What every route may answer that takes an Idempotency-Key."""


def describe(app: FastAPI) -> None:
    """Let the description say that every failure is a problem document."""
    make_schema = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _with_problems(make_schema())
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _with_problems(schema: dict[str, Any]) -> dict[str, Any]:
    models = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas = schema["components"]["schemas"]
    schemas.update(models.pop("$defs"), Problem=models)
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    reference = {"$ref": "#/components/schemas/Problem"}
    for operations in schema["paths"].values():
        for operation in operations.values():
            if any(one["name"] == "Idempotency-Key" for one in operation.get("parameters", ())):
                operation["responses"].setdefault("409", CONFLICT)
            for status, words in FAILURES.items():
                if status in OF_ANY_ROUTE or status in operation["responses"]:
                    operation["responses"][status] = {
                        "description": words,
                        "content": {MEDIA_TYPE: {"schema": reference}},
                    }
    return schema


@router.get("/docs")
def read_reference(request: Request) -> HTMLResponse:
    """Show every route, its parameters, its body and its answers."""
    schema = request.app.openapi()
    routes = "".join(
        _route(method, path, operation)
        for path, operations in schema["paths"].items()
        for method, operation in operations.items()
    )
    schemas = "".join(_schema(name, one) for name, one in schema["components"]["schemas"].items())
    title = escape(f"{schema['info']['title']} API {schema['info']['version']}")
    page = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        '<meta name="viewport" content="width=device-width"><link rel="stylesheet" '
        f'href="/style.css"></head><body><main><h1>{title}</h1><p>{INTRODUCTION}</p>'
        f"<h2>Routes</h2>{routes}<h2>Schemas</h2>{schemas}</main></body></html>"
    )
    return HTMLResponse(page, headers=HEADERS)


def _route(method: str, path: str, operation: dict[str, Any]) -> str:
    parameters = "".join(_parameter(one) for one in operation.get("parameters", ()))
    bodies = "".join(
        f"<li>body {escape(kind)}: {_kind_of(content.get('schema', {}))}</li>"
        for kind, content in operation.get("requestBody", {}).get("content", {}).items()
    )
    answers = "".join(_answer(status, one) for status, one in operation["responses"].items())
    summary = escape(operation.get("description") or operation.get("summary", ""))
    return (
        f"<section><h3><code>{escape(method.upper())} {escape(path)}</code></h3><p>{summary}</p>"
        f"<ul>{parameters}{bodies}{answers}</ul></section>"
    )


def _parameter(parameter: dict[str, Any]) -> str:
    needed = ", required" if parameter.get("required") else ""
    words = escape(parameter.get("description", ""))
    return (
        f"<li>{escape(parameter['in'])} <code>{escape(parameter['name'])}</code>: "
        f"{_kind_of(parameter.get('schema', {}))}{needed} {words}</li>"
    )


def _answer(status: str, answer: dict[str, Any]) -> str:
    kinds = ", ".join(
        f"{escape(kind)} {_kind_of(content.get('schema', {}))}"
        for kind, content in answer.get("content", {}).items()
    )
    return f"<li>{escape(status)} {escape(answer.get('description', ''))} {kinds}</li>"


def _schema(name: str, schema: dict[str, Any]) -> str:
    required = schema.get("required", ())
    rows = "".join(
        f"<li><code>{escape(field)}</code>: {_kind_of(one)}"
        f"{', required' if field in required else ''} {escape(one.get('description', ''))}</li>"
        for field, one in schema.get("properties", {}).items()
    )
    words = escape(schema.get("description", ""))
    values = escape(", ".join(str(value) for value in schema.get("enum", ())))
    return (
        f'<section id="{escape(name)}"><h3><code>{escape(name)}</code></h3>'
        f"<p>{words} {values}</p><ul>{rows}</ul></section>"
    )


def _kind_of(schema: dict[str, Any]) -> str:
    """Say in a few words what a schema allows."""
    if "$ref" in schema:
        name = escape(schema["$ref"].rsplit("/", 1)[-1])
        return f'<a href="#{name}">{name}</a>'
    if "anyOf" in schema:
        return " or ".join(_kind_of(one) for one in schema["anyOf"])
    if schema.get("type") == "array":
        return f"list of {_kind_of(schema.get('items', {}))}"
    if "enum" in schema:
        return escape(" | ".join(str(value) for value in schema["enum"]))
    return escape(str(schema.get("format") or schema.get("type", "anything")))
