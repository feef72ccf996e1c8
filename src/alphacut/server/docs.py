"""The service's manual: its OpenAPI schema as a page that needs no other host."""

import html
from collections.abc import Mapping
from typing import Any


def render_page(schema: Mapping[str, Any]) -> str:
    """Render an OpenAPI schema as plain HTML.

    Args:
        schema: The schema.

    Returns:
        The page.
    """
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8><title>alphacut</title><style>"
        "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
        "table{border-collapse:collapse;width:100%}td,th{border-bottom:1px solid #ccc;"
        "padding:.2rem .5rem;text-align:left;vertical-align:top}code{font-size:.95em}</style>",
        f"<h1>{_text(schema['info']['title'])} {_text(schema['info']['version'])}</h1>"
        f"<p>{_text(schema['info']['description'])} <a href=openapi.json>openapi.json</a></p>",
    ]
    for path, methods in schema["paths"].items():
        for method, operation in methods.items():
            parts.append(f"<h2><code>{method.upper()} {_text(path)}</code></h2>")
            parts += _render_operation(operation)
    return "".join(parts) + "</html>"


def _render_operation(operation: Mapping[str, Any]) -> list[str]:
    """Render what one path takes and answers."""
    parts = [f"<p>{_text(operation.get('description', ''))}</p>"]
    rows = [
        (one["name"], one["schema"], one.get("description", ""))
        for one in operation.get("parameters", [])
    ]
    content = operation.get("requestBody", {}).get("content", {})
    if content:
        first = next(iter(content.values()))["schema"].get("properties", {})
        rows += [(name, of, of.get("description", "")) for name, of in first.items()]
        kinds = ", ".join(f"<code>{_text(kind)}</code>" for kind in content)
        parts.append(f"<p>Body: {kinds}</p>")
    if rows:
        parts.append("<table><tr><th>field<th>values<th>meaning")
        parts += [
            f"<tr><td><code>{_text(name)}</code><td>{_text(_values(of))}<td>{_text(meaning)}"
            for name, of, meaning in rows
        ]
        parts.append("</table>")
    answers = (
        f"<b>{_text(status)}</b> {_text(of.get('description', ''))}"
        for status, of in sorted(operation["responses"].items())
    )
    return [*parts, f"<p>Answers: {'; '.join(answers)}</p>"]


def _values(schema: Mapping[str, Any]) -> str:
    """Say in words what a schema allows."""
    words = ", ".join(schema["enum"]) if "enum" in schema else str(schema.get("type", ""))
    return f"{words} (default {schema['default']})" if "default" in schema else words


def _text(text: object) -> str:
    return html.escape(str(text))
