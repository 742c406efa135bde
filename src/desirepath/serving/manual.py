# SPDX-License-Identifier: Apache-2.0
"""The API as a page to read, at /docs: the OpenAPI document as plain HTML, with nothing from elsewhere.

It knows only the document, so that it never tells another story.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from html import escape
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

router = APIRouter(include_in_schema=False)
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; "
    "frame-ancestors 'none'"
}
STYLE = """
:root { color-scheme: light dark; --line: #8884; --accent: #2f6f4f; }
body { font: 16px/1.55 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
code, pre { font: 14px/1.5 ui-monospace, monospace; }
pre { overflow-x: auto; border: 1px solid var(--line); border-radius: .4rem; padding: .75rem; }
nav ul { columns: 2; padding-left: 1rem; list-style: none; }
details { border: 1px solid var(--line); border-radius: .4rem; margin: .5rem 0; padding: .4rem .8rem; }
summary { cursor: pointer; overflow-wrap: anywhere; }
summary b { display: inline-block; min-width: 4rem; color: var(--accent); }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: .3rem .6rem .3rem 0; }
td { border-top: 1px solid var(--line); }
.scope { float: right; opacity: .75; }
"""


@router.get("/docs")
async def docs(request: Request) -> HTMLResponse:
    """The page."""
    return HTMLResponse(page_of(request.app.openapi()), headers=HEADERS)


def page_of(schema: dict[str, Any]) -> str:
    """An OpenAPI document as one HTML page."""
    title = escape(f"{schema['info']['title']} API {schema['info']['version']}")
    parts = [
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<style>{STYLE}</style></head><body><h1>{title}</h1>",
        *_paragraphs(schema["info"].get("description", "")),
        '<p>The same for programs: <a href="/openapi.json">/openapi.json</a>.</p>',
        *_operations(schema),
        '<h2 id="shapes">Shapes</h2>',
        *(_shape(name, shape) for name, shape in sorted(schema["components"]["schemas"].items())),
        "</body></html>",
    ]
    return "\n".join(parts)


def _paragraphs(text: str) -> Iterator[str]:
    """Paragraphs of a text with `code` and **bold** in it."""
    for paragraph in text.strip().split("\n\n"):
        pieces = escape(paragraph).split("`")
        marked = "".join(f"<code>{p}</code>" if n % 2 else _bold(p) for n, p in enumerate(pieces))
        yield f"<p>{marked}</p>"


def _bold(text: str) -> str:
    return "".join(f"<b>{p}</b>" if n % 2 else p for n, p in enumerate(text.split("**")))


def _operations(schema: dict[str, Any]) -> Iterator[str]:
    by_tag: dict[str, list[str]] = {}
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            tag = (operation.get("tags") or ["other"])[0]
            by_tag.setdefault(tag, []).append(_operation(method, path, operation))
    for tag, told in by_tag.items():
        yield f"<h2>{escape(tag.capitalize())}</h2>"
        yield from told


def _operation(method: str, path: str, operation: dict[str, Any]) -> str:
    scope = operation.get("x-scope")
    parts = [
        f'<details id="{escape(operation.get("operationId", ""))}"><summary>',
        f'<span class="scope">{escape(scope)}</span>' if scope else "",
        f"<b>{escape(method.upper())}</b> <code>{escape(path)}</code></summary>",
        *_paragraphs(operation.get("description", "")),
    ]
    if operation.get("parameters"):
        rows = [
            f"<tr><td><code>{escape(p['name'])}</code></td><td>{escape(p['in'])}"
            f"{', required' if p.get('required') else ''}</td><td>{_type(p.get('schema', {}))}</td>"
            f"<td>{escape(p.get('description', ''))}</td></tr>"
            for p in operation["parameters"]
        ]
        parts.append(f"<table><tr><th>Parameter<th>In<th>Type<th></tr>{''.join(rows)}</table>")
    for kind, content in operation.get("requestBody", {}).get("content", {}).items():
        parts.append(f"<p>Body, {escape(kind)}: {_type(content.get('schema', {}))}</p>")
    parts += [_response(status, told) for status, told in sorted(operation["responses"].items())]
    return "".join(parts) + "</details>"


def _response(status: str, told: dict[str, Any]) -> str:
    if "$ref" in told:
        return ""  # problems, which are all alike
    shapes = ", ".join(_type(content.get("schema", {})) for content in told.get("content", {}).values())
    return f"<p>{escape(status)}: {escape(told.get('description', ''))} {shapes}</p>"


def _type(schema: dict[str, Any]) -> str:
    """A schema in a few words, with links to the shapes it names."""
    if "$ref" in schema:
        name = escape(schema["$ref"].rpartition("/")[2])
        return f'<a href="#shape-{name}">{name}</a>'
    choices = schema.get("anyOf") or schema.get("oneOf")
    if choices:
        return " or ".join(dict.fromkeys(map(_type, choices)))
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}{_range(schema)}"
    if "enum" in schema:
        return " or ".join(f"<code>{escape(json.dumps(value))}</code>" for value in schema["enum"])
    kind = schema.get("type", "anything")
    return escape(" or ".join(kind) if isinstance(kind, list) else kind) + _range(schema)


def _range(schema: dict[str, Any]) -> str:
    lows = [schema[key] for key in ("minimum", "minLength", "minItems") if key in schema]
    highs = [schema[key] for key in ("maximum", "maxLength", "maxItems") if key in schema]
    if not lows and not highs:
        return ""
    return escape(f" ({lows[0] if lows else ''}..{highs[0] if highs else ''})")


def _shape(name: str, shape: dict[str, Any]) -> str:
    needed = shape.get("required", [])
    rows = [
        f"<tr><td><code>{escape(field)}</code>{'*' if field in needed else ''}</td><td>{_type(schema)}</td>"
        f"<td>{escape(schema.get('description', ''))}</td></tr>"
        for field, schema in shape.get("properties", {}).items()
    ]
    told = "".join(_paragraphs(shape.get("description", "")))
    table = f"<table><tr><th>Field (* must be given)<th>Type<th></tr>{''.join(rows)}</table>" if rows else ""
    return f'<details id="shape-{escape(name)}" open><summary>{escape(name)}</summary>{told}{table}</details>'
