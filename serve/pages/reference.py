"""/docs: the API on one page, made from its OpenAPI description; nothing is loaded from elsewhere."""

import json
from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from serve.pages.view import render

router = APIRouter(include_in_schema=False)


@router.get("/docs")
def reference(request: Request) -> Response:
    """Show every endpoint with its parameters, body and statuses."""
    description = request.app.openapi()
    groups: dict[str, list[dict[str, Any]]] = {}
    for path, methods in description["paths"].items():
        for method, operation in methods.items():
            group = operation.get("tags", ["other"])[0]
            groups.setdefault(group, []).append({"method": method.upper(), "path": path, **_shown(operation)})
    schemas = {
        name: json.dumps(schema, indent=2, ensure_ascii=False)
        for name, schema in description["components"]["schemas"].items()
    }
    return render(request, "reference.html", None, groups=groups, schemas=schemas, about=description["info"])


def _shown(operation: Mapping[str, Any]) -> dict[str, Any]:
    parameters = [
        {"name": p["name"], "where": p["in"], "about": p.get("description", "")}
        for p in operation.get("parameters", ())
    ]
    responses = {
        status: (_schema_name(r.get("content", {})), r.get("description", ""))
        for status, r in sorted(operation["responses"].items())
    }
    return {
        "about": operation.get("description", ""),
        "parameters": parameters,
        "body": _schema_name(operation.get("requestBody", {}).get("content", {})),
        "responses": responses,
    }


def _schema_name(content: Mapping[str, Any]) -> str:
    schema: Mapping[str, Any] = next((c.get("schema", {}) for c in content.values()), {})
    return str(schema.get("$ref", "")).rpartition("/")[2]
