# SPDX-License-Identifier: Apache-2.0
"""Which columns of a table are labels, and the traits that users bear.

It looks at tables of items and users and at the context columns of events. User vectors are made
with it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime

import numpy as np
import polars as pl
import scipy.sparse as sp

from desirepath.features import InterestConfig, before
from desirepath.features.interests import item_labels
from desirepath.schema import ITEM, USER

MAX_ATTRIBUTES = 3
"""Most columns taken for labels unless they are named."""
MAX_LABELS = 500
"""A column with more different labels is text rather than a label."""
MIN_ITEMS_PER_LABEL = 5
"""A label that fewer items share on average tells the item, not a kind of item."""
MAX_TEXTS_SHARE = 0.5
"""A column of which more values than this share of the rows differ is text."""
MAX_TRAITS = 12
"""Most values of one trait, those of most users."""
CONTEXTS = ("device", "country")
"""Columns of events whose usual value is a trait of the user."""


def label_attributes(items: pl.LazyFrame | pl.DataFrame, separator: str | None = "|") -> tuple[str, ...]:
    """Columns of the items' table that look like labels, in the table's order, three at most.

    A column of text (or lists of text) counts when it has 2 to 500 different labels and each is shared
    by 5 items on average: genres and brands do, titles and descriptions do not. A column that says the
    same as an earlier one in other words is left out.

    >>> films = pl.DataFrame({"item_id": [str(i) for i in range(20)],
    ...                       "title": [f"Film {i}" for i in range(20)],
    ...                       "genres": ["drama|war", "comedy"] * 10})
    >>> label_attributes(films)
    ('genres',)
    """
    table = items.lazy().collect()
    found: dict[str, pl.DataFrame] = {}
    for name, kind in table.schema.items():
        listed = isinstance(kind, pl.List | pl.Array)
        texts = kind.inner if isinstance(kind, pl.List | pl.Array) else kind
        if name == ITEM or not isinstance(texts, pl.String | pl.Categorical | pl.Enum):
            continue
        # Text that hardly repeats as a whole is cheap to tell; only single labels can be told so early.
        if not listed and table.get_column(name).n_unique() > MAX_TEXTS_SHARE * table.height:
            continue
        labels = item_labels(table, InterestConfig(attribute=name, separator=separator)).collect()
        n_labels = labels.get_column("label").n_unique()
        if 2 <= n_labels <= MAX_LABELS and labels.height >= MIN_ITEMS_PER_LABEL * n_labels:
            said = labels.select(ITEM, "label")
            if not any(_same(said, other) for other in found.values()):
                found[name] = said
    return tuple(found)[:MAX_ATTRIBUTES]


def _same(a: pl.DataFrame, b: pl.DataFrame) -> bool:
    """Whether two attributes say the same in other words, such as in two languages."""
    if a.height != b.height:
        return False
    pairs = a.join(b, on=ITEM).select("label", "label_right").n_unique()
    return pairs == a.get_column("label").n_unique() == b.get_column("label").n_unique()


def traits(
    events: pl.LazyFrame | pl.DataFrame,
    as_of: datetime,
    users: pl.LazyFrame | pl.DataFrame | None,
    rows: pl.DataFrame,
    like: Mapping[str, tuple[str, ...]] | None = None,
) -> Iterator[tuple[str, tuple[str, ...], sp.csr_array]]:
    """Name, values and a sparse matrix of who bears each, for every trait.

    A trait is a text column of the users' table with few values, and the commonest device and country
    of a user's events before `as_of` (ties by name). `rows` gives the row of each user;
    `like` the values of each trait where they are known already.
    """
    log = before(events, as_of)
    known = log.collect_schema().names()
    tables: dict[str, pl.DataFrame] = {}
    for name in CONTEXTS:
        if name in known:
            counts = log.filter(pl.col(name).is_not_null()).group_by(USER, name).len()
            usual = pl.col(name).sort_by(["len", name], descending=[True, False]).first()
            tables[name] = counts.group_by(USER).agg(usual).collect(engine="streaming")
    if users is not None:
        table = users.lazy().collect()
        for name, kind in table.schema.items():
            few = name != USER and kind == pl.String and table.get_column(name).n_unique() <= MAX_LABELS
            if few and name not in tables and table.height >= MIN_ITEMS_PER_LABEL * table[name].n_unique():
                tables[name] = table.select(USER, name).unique(USER, keep="first", maintain_order=True)
    for name, table in tables.items():
        cells = table.drop_nulls().join(rows, on=USER)
        known_values = (like or {}).get(f"trait:{name}")
        common = cells.group_by(name).len().sort("len", name, descending=[True, False]).head(MAX_TRAITS)
        values = known_values or tuple(common.get_column(name).to_list())
        if len(values) < 2:
            continue
        placed = cells.join(pl.DataFrame({name: values}).with_row_index("column"), on=name)
        ones = np.ones(placed.height, np.float32)
        matrix = sp.csr_array(
            (ones, (placed["row"].to_numpy(), placed["column"].to_numpy())), shape=(rows.height, len(values))
        )
        yield f"trait:{name}", values, matrix
