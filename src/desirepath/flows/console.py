# SPDX-License-Identifier: Apache-2.0
"""The pages that people look at, given what only the flows can compute for them."""

from __future__ import annotations

import ast
import dataclasses
import inspect
from collections.abc import Mapping
from functools import cache
from textwrap import dedent
from typing import TYPE_CHECKING, Any

import polars as pl

from desirepath import config
from desirepath.flows.settings import Settings, load_settings, sections

if TYPE_CHECKING:
    from fastapi import FastAPI

    from desirepath.live.project import Project


def show_console(app: FastAPI, projects: Mapping[str, Project]) -> None:
    """Put the pages of `projects` on `app`, at /console."""
    from desirepath.console import Views, mount
    from desirepath.flows.behaviour import open_behaviour

    views = Views(
        behaviour=lambda project: open_behaviour(project.workspace),
        settings=lambda project: explained(load_settings(project.workspace.folder)),
    )
    mount(app, projects, views)


def explained(settings: Settings) -> pl.DataFrame:
    """Option ("section.name"), value, default and meaning of every option, as the workspace resolves them."""
    rows: list[dict[str, str]] = []
    for section, kind in sections().items():
        found = getattr(settings, section)
        if found is not None:
            rows += _rows(section, config.to_plain(found), config.to_plain(kind()), kind)
    return pl.DataFrame(rows, schema=dict.fromkeys(("option", "value", "default", "meaning"), pl.String))


def _rows(
    name: str, values: Mapping[str, Any], defaults: Mapping[str, Any], kind: type
) -> list[dict[str, str]]:
    meanings, rows = _meanings(kind), []
    inner: dict[str, Any] = {field.name: field.default_factory for field in dataclasses.fields(kind)}
    for option, value in values.items():
        nested = inner.get(option)
        if isinstance(value, Mapping) and isinstance(nested, type) and dataclasses.is_dataclass(nested):
            rows += _rows(f"{name}.{option}", value, defaults.get(option) or {}, nested)
            continue
        rows.append(
            {
                "option": f"{name}.{option}",
                "value": _told(value),
                "default": _told(defaults.get(option)),
                "meaning": meanings.get(option, ""),
            }
        )
    return rows


@cache
def _meanings(kind: type[Any]) -> dict[str, str]:
    """The docstring under each field of a dataclass."""
    body = ast.parse(dedent(inspect.getsource(kind))).body[0]
    assert isinstance(body, ast.ClassDef)
    found: dict[str, str] = {}
    for field, after in zip(body.body, body.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
            said = after.value if isinstance(after, ast.Expr) else None
            if isinstance(said, ast.Constant) and isinstance(said.value, str):
                found[field.target.id] = " ".join(said.value.split())
    return found


def _told(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return "" if value is None else str(value)
