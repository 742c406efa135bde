# SPDX-License-Identifier: Apache-2.0
"""Tables of any length: sorted, filtered and written as CSV on the server, shown a block at a time.

A table stays here under a secret name while its page is open; the grid in the browser asks for what it shows.
Columns travel under plain numbers, so that no name of theirs means anything to the browser.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, Final, Literal

import orjson
import polars as pl
from nicegui import app as pages
from nicegui import ui
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from desirepath.console.controls import Text, box
from desirepath.console.words import Words, phrases

Kind = Literal["text", "number", "share", "time", "day"]
ROWS_AT_ONCE: Final = 100
MOST_ROWS_AT_ONCE: Final = 1000
ROW_PX: Final = 36
_FORMATS: Final[Mapping[str, str]] = {
    "number": "p => p.value == null ? '' : Number.isInteger(p.value) ? p.value.toLocaleString()"
    " : Math.abs(p.value) < 1e-3 ? p.value.toExponential(1)"
    " : p.value.toLocaleString(undefined, {maximumSignificantDigits: 4})",
    "share": "p => p.value == null ? '' : (100 * p.value).toFixed(p.value < 0.1 ? 2 : 1) + '%'",
}
_SOURCE: Final = (
    "{{getRows: p => fetch('{address}', {{method: 'POST', headers: {{'content-type': 'application/json'}},"
    " body: JSON.stringify({{start: p.startRow, end: p.endRow, sort: p.sortModel, filter: p.filterModel}})}})"
    ".then(r => r.ok ? r.json() : Promise.reject(r.status))"
    ".then(d => p.successCallback(d.rows, d.n)).catch(() => p.failCallback())}}"
)


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table."""

    name: str
    """In the frame."""
    title: str
    """For people, with its unit."""
    kind: Kind = "text"
    width: int | None = None
    """Pixels; None shares what is left."""
    is_pinned: bool = False


@dataclass(frozen=True, slots=True)
class Shelf:
    """A table that some page shows."""

    frame: pl.DataFrame
    columns: tuple[Column, ...]
    name: str


_shelves: dict[str, Shelf] = {}


def table(
    frame: pl.DataFrame,
    columns: Sequence[Column],
    words: Words,
    *,
    name: str,
    pick: Callable[[dict[str, Any]], Any] | None = None,
    n_rows: int = 12,
    row_px: int = ROW_PX,
) -> None:
    """Show a table with its export.

    Args:
        frame: all of it; only what is looked at leaves the server.
        columns: those shown, in order.
        words: the visitor's language.
        name: of the exported file, without its ending.
        pick: called with the row that was clicked, by the names of `columns`.
        n_rows: rows that are visible at once.
        row_px: height of a row; above the usual, long texts are broken into lines.
    """
    token = secrets.token_urlsafe(18)
    _shelves[token] = Shelf(frame, tuple(columns), name)
    ui.context.client.on_delete(lambda: _shelves.pop(token, None))
    address = f"/console/_tables/{token}"
    with box("dp-menu"):
        Text(words("table.rows", n=f"{frame.height:,}"), "dp-count", "span")
        link = Text(words("table.export"), "dp-button dp-small", "a")
        link._props["href"] = f"{address}.csv"
        link._props["download"] = f"{name}.csv"
    definitions = [_definition(place, column) for place, column in enumerate(columns)]
    options: dict[str, Any] = {
        "columnDefs": definitions,
        "defaultColDef": {
            "sortable": True,
            "resizable": True,
            "minWidth": 112,
            "wrapHeaderText": True,
            "autoHeaderHeight": True,
        },
        "rowModelType": "infinite",
        "cacheBlockSize": ROWS_AT_ONCE,
        "maxBlocksInCache": 20,
        "rowHeight": row_px,
        "enableCellTextSelection": True,
        "enableBrowserTooltips": True,
        "suppressCellFocus": pick is None,
        ":datasource": _SOURCE.format(address=address),
        "localeText": _locale(words),
    }
    shown = min(max(frame.height, 1), n_rows)
    if row_px > ROW_PX:
        options["defaultColDef"] |= {"wrapText": True, "cellClass": "dp-lines"}
    grid = ui.aggrid(options, auto_size_columns=False).style(f"height: {58 + row_px * shown}px")
    if pick is not None:
        grid.classes("dp-pickable")

        def picked(event: Any) -> Any:
            row = (event.args or {}).get("data") or {}
            return pick({column.name: row.get(f"c{at}") for at, column in enumerate(columns)})

        grid.on("cellClicked", picked, args=["data"])


def _definition(place: int, column: Column) -> dict[str, Any]:
    made: dict[str, Any] = {
        "field": f"c{place}",
        "headerName": column.title,
        "filter": "agTextColumnFilter" if column.kind in ("text", "time", "day") else "agNumberColumnFilter",
        "tooltipField": f"c{place}" if column.kind == "text" else None,
    }
    made |= {"width": column.width} if column.width else {"flex": 1}
    if column.kind in _FORMATS:
        made |= {":valueFormatter": _FORMATS[column.kind], "type": "rightAligned"}
    if column.is_pinned:
        made["pinned"] = "left"
    return made


def _locale(words: Words) -> dict[str, str]:
    """AG Grid's own words in the visitor's language; its English needs none."""
    if words.language == "en":
        return {}
    begin = "grid."
    return {key[len(begin) :]: words(key) for key in phrases() if key.startswith(begin)}


def register() -> None:
    """Answer what grids ask; said again, it replaces what was said."""
    for path in ("/_tables/{token}.csv", "/_tables/{token}"):
        pages.remove_route(path)
    pages.add_api_route("/_tables/{token}.csv", _csv, methods=["GET"], include_in_schema=False)
    pages.add_api_route("/_tables/{token}", _rows, methods=["POST"], include_in_schema=False)


async def _rows(token: str, request: Request) -> Response:
    shelf = _shelves.get(token)
    if shelf is None:
        return Response(status_code=404)
    try:
        asked = orjson.loads(await request.body())
    except (ClientDisconnect, orjson.JSONDecodeError):  # who asked has left, or is no grid
        return Response(status_code=400)
    return Response(await run_in_threadpool(_block, shelf, asked), media_type="application/json")


async def _csv(token: str) -> Response:
    shelf = _shelves.get(token)
    if shelf is None:
        return Response(status_code=404)
    body = await run_in_threadpool(_written, shelf)
    name = "".join(letter if letter.isalnum() or letter in "-_" else "-" for letter in shelf.name)
    headers = {"content-disposition": f'attachment; filename="{name}.csv"'}
    return Response(body, media_type="text/csv; charset=utf-8", headers=headers)


def _written(shelf: Shelf) -> bytes:
    names = [column.name for column in shelf.columns]
    flat = shelf.frame.select(
        pl.col(name).list.join(" > ") if isinstance(shelf.frame.schema[name], pl.List) else pl.col(name)
        for name in names
    )
    return flat.write_csv(include_bom=True).encode()


def _block(shelf: Shelf, asked: Mapping[str, Any]) -> bytes:
    """The rows that a grid asks for, and how many there are in all."""
    frame = arranged(shelf.frame, shelf.columns, asked.get("sort") or [], asked.get("filter") or {})
    start = max(0, int(asked.get("start", 0)))
    stop = min(int(asked.get("end", start + ROWS_AT_ONCE)), start + MOST_ROWS_AT_ONCE)
    shown = frame[start:stop].select(
        _plain(column, frame.schema[column.name]).alias(f"c{at}") for at, column in enumerate(shelf.columns)
    )
    return orjson.dumps({"rows": shown.to_dicts(), "n": frame.height})


def _plain(column: Column, kind: pl.DataType) -> pl.Expr:
    value = pl.col(column.name)
    if isinstance(kind, pl.List):
        return value.cast(pl.List(pl.String)).list.join(" › ")
    if column.kind == "time" and isinstance(kind, pl.Datetime):
        return value.dt.strftime("%Y-%m-%d %H:%M")
    if column.kind == "day" and kind.is_temporal():
        return value.dt.strftime("%Y-%m-%d")
    if column.kind in ("number", "share"):
        return value.cast(pl.Float64).fill_nan(None) if kind.is_float() else value
    return value.cast(pl.String)


def arranged(
    frame: pl.DataFrame,
    columns: Sequence[Column],
    sort: Sequence[Mapping[str, Any]],
    filters: Mapping[str, Mapping[str, Any]],
) -> pl.DataFrame:
    """The rows that pass AG Grid's filter model, in the order of its sort model."""
    by_field = {f"c{place}": column for place, column in enumerate(columns)}
    for field, model in filters.items():
        column = by_field.get(field)
        if column is not None:
            value = _plain(column, frame.schema[column.name])
            frame = frame.filter(_condition(value, model))
    keys = [
        (by_field[rule["colId"]].name, rule.get("sort") == "desc")
        for rule in sort
        if rule["colId"] in by_field
    ]
    if not keys:
        return frame
    names, descending = zip(*keys, strict=True)
    return frame.sort(list(names), descending=list(descending), nulls_last=True, maintain_order=True)


def _condition(value: pl.Expr, model: Mapping[str, Any]) -> pl.Expr:
    """One filter, or several joined by AND or OR."""
    parts = model.get("conditions")
    if parts:
        joined = [_condition(value, part) for part in parts]
        return reduce(lambda a, b: a | b if model.get("operator") == "OR" else a & b, joined)
    kind = str(model.get("type", ""))
    if kind in ("blank", "notBlank"):
        return value.is_null() if kind == "blank" else value.is_not_null()
    if model.get("filterType") == "number":
        low, high = float(model.get("filter") or 0), float(model.get("filterTo") or 0)
        numbers = {
            "equals": value == low, "notEqual": value != low, "lessThan": value < low,
            "lessThanOrEqual": value <= low, "greaterThan": value > low,
            "greaterThanOrEqual": value >= low, "inRange": value.is_between(low, high),
        }  # fmt: skip
        return numbers.get(kind, pl.lit(True))
    wanted = str(model.get("filter") or "").lower()
    text = value.str.to_lowercase()
    texts = {
        "contains": text.str.contains(wanted, literal=True),
        "notContains": ~text.str.contains(wanted, literal=True),
        "equals": text == wanted, "notEqual": text != wanted,
        "startsWith": text.str.starts_with(wanted), "endsWith": text.str.ends_with(wanted),
    }  # fmt: skip
    return texts.get(kind, pl.lit(True))
