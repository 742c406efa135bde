# SPDX-License-Identifier: Apache-2.0
"""Segments of users: found, named, drawn on a map, kept, and laid on users of another moment.

It joins the space, the partition and the marks of this room. User vectors come in; tables go to
reports and portraits, and a folder of Parquet and JSON keeps everything.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from desirepath.errors import ConfigError, DataError
from desirepath.profiles.marks import marks
from desirepath.profiles.names import segment_names
from desirepath.profiles.partition import OUTLIER, Partition, PartitionConfig, part
from desirepath.profiles.plain import close_id
from desirepath.profiles.plane import umap_plane
from desirepath.profiles.space import Space, SpaceConfig
from desirepath.profiles.vectors import Columns, UserVectors
from desirepath.schema import USER

FORMAT = 1
HEADER = "segments.json"
N_TYPICAL = 5
"""Typical members that are told of each segment."""
UNASSIGNED = "none of them"
"""The name of the group -1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentConfig:
    """How users are parted."""

    space: SpaceConfig = field(default_factory=SpaceConfig)
    """Scales, weights and components."""
    partition: PartitionConfig = field(default_factory=PartitionConfig)
    """Method, number of segments and how it is chosen."""
    map: Literal["pca", "umap"] = "pca"
    """The plane of x and y: the first two components, or UMAP (needs the package umap-learn; 20,000
    users drawn by seed have a place in it)."""
    seed: int = 0
    """Everything drawn follows from it; 0 or more."""

    def __post_init__(self) -> None:
        if self.map not in ("pca", "umap"):
            raise ConfigError(f"map must be pca or umap; got '{self.map}'.")
        if self.seed < 0:
            raise ConfigError(f"seed must be at least 0; got {self.seed}.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Segments:
    """Segments 0 (the largest) to k - 1, their members as of a moment, and what assigns others."""

    as_of: datetime
    members: pl.DataFrame
    """user_id, segment (-1: none, HDBSCAN only), distance (to the nearest anchor, in the space),
    confidence (0 on a border, 1 on the anchor), x, y (null without a place); sorted by user_id."""
    table: pl.DataFrame
    """segment, name, n_users, share, typical (ids of the users nearest the middle); sums to all users."""
    marks: pl.DataFrame
    """What sets each apart; see `marks.marks`."""
    coordinates: NDArray[np.float32]
    """(U, D) places of the members in the space, rows as in `members`."""
    space: Space
    partition: Partition

    @property
    def columns(self) -> Columns:
        """Columns that other vectors must have to be assigned: `user_vectors(..., like=segments.columns)`."""
        return self.space.columns

    @property
    def choice(self) -> pl.DataFrame:
        """k, silhouette, stability, chosen: how the number of segments was chosen."""
        return self.partition.choice

    @property
    def is_stable(self) -> bool:
        """Whether resampling finds these segments again; see `Partition.is_stable`."""
        return self.partition.is_stable

    @property
    def names(self) -> Mapping[int, str]:
        """Name by number."""
        return dict(self.table.select("segment", "name").iter_rows())

    def assign(self, vectors: UserVectors) -> pl.DataFrame:
        """The segment of each of these users, by the same scales, components and anchors.

        Columns as of `members`; x and y are null on a UMAP plane, which has no rule for new points.

        Raises:
            DataError: the vectors were not made with `like=segments.columns`.
        """
        points = self.space.transform(vectors)
        has_rule = self.members.get_column("x").equals(pl.Series("x", self.coordinates[:, 0]))
        return _members(vectors, self.partition, points, points[:, :2] if has_rule else None)

    def save(self, folder: Path) -> None:
        """Write members, marks, table and coordinates as Parquet and the rest as JSON; the JSON last."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / HEADER).unlink(missing_ok=True)
        self.members.write_parquet(folder / "members.parquet")
        self.marks.write_parquet(folder / "marks.parquet")
        self.table.write_parquet(folder / "table.parquet")
        width = self.coordinates.shape[1]
        places = pl.Series("place", self.coordinates, dtype=pl.Array(pl.Float32, width))
        pl.DataFrame([places]).write_parquet(folder / "coordinates.parquet")
        header = {
            "format": FORMAT,
            "as_of": self.as_of.isoformat(),
            "space": self.space.to_dict(),
            "partition": self.partition.to_dict(),
        }
        partial = folder / f"{HEADER}.part"
        partial.write_text(json.dumps(header), encoding="utf-8")
        partial.replace(folder / HEADER)

    @staticmethod
    def load(folder: Path) -> Segments:
        """What `save` wrote.

        Raises:
            DataError: the folder holds no complete segments, or those of a newer format.
        """
        path = folder / HEADER
        if not path.is_file():
            raise DataError(f"{folder} holds no segments. Run `desirepath segments` first.")
        header = json.loads(path.read_text(encoding="utf-8"))
        if header["format"] > FORMAT:
            raise DataError(
                f"Segments must be of format {FORMAT} or older; {folder} has {header['format']}. "
                "Upgrade desirepath."
            )
        return Segments(
            as_of=datetime.fromisoformat(header["as_of"]),
            members=pl.read_parquet(folder / "members.parquet"),
            table=pl.read_parquet(folder / "table.parquet"),
            marks=pl.read_parquet(folder / "marks.parquet"),
            coordinates=pl.read_parquet(folder / "coordinates.parquet").get_column("place").to_numpy(),
            space=Space.from_dict(header["space"]),
            partition=Partition.from_dict(header["partition"]),
        )

    def similar_users(self, user_id: str, k: int = 10) -> pl.DataFrame:
        """The k users whose places lie most in the same direction: user_id, similarity (cosine, -1 to 1).

        Raises:
            DataError: the user is not among the members.

        Cost: one pass over the coordinates.
        """
        users = self.members.get_column(USER)
        row = users.search_sorted(user_id) if len(users) else 0
        if row >= len(users) or users[row] != user_id:
            raise DataError(f"No segment has the user '{user_id}'. {close_id(user_id, users)}")
        length = np.maximum(np.linalg.norm(self.coordinates, axis=1), 1e-12)
        alike = (self.coordinates @ self.coordinates[row]) / (length * length[row])
        alike[row] = -np.inf
        best = np.argsort(-alike, kind="stable")[: min(k, len(users) - 1)]
        return pl.DataFrame({USER: users.gather(best), "similarity": alike[best].astype(np.float64)})


def segment(
    vectors: UserVectors, config: SegmentConfig | None = None, titles: Mapping[str, str] | None = None
) -> Segments:
    """The segments of these users, largest first; see `Space.fit`, `part`, `marks` and `segment_names`.

    Args:
        vectors: who is to be parted, as of their moment.
        config: weights, method, number, map, seed.
        titles: title by item id, for names made of items.

    Raises:
        TooLittleData: fewer than 20 users, or users who do not differ.
        ConfigError: a UMAP plane without the package umap-learn.

    Cost: scales and components from 100,000 users at most; the number of segments on a sample of
    2,000; then one pass of K-means (mini-batches beyond 50,000 users).
    """
    config = config or SegmentConfig()
    space = Space.fit(vectors, config.space, config.seed)
    points = space.transform(vectors)
    partition = part(points, config.partition, config.seed)
    sizes = np.bincount(partition.assign(points)[0] + 1, minlength=partition.n_groups + 1)[1:]
    partition = partition.reordered(np.argsort(-sizes, kind="stable"))
    plane = points[:, :2] if config.map == "pca" else umap_plane(points, config.seed)
    members = _members(vectors, partition, points, plane)
    group = members.get_column("segment").to_numpy()
    found = marks(vectors, group)
    names = segment_names(found, partition.n_groups, titles)
    return Segments(
        as_of=vectors.as_of,
        members=members,
        table=_table(members, points, names),
        marks=found,
        coordinates=points,
        space=space,
        partition=partition,
    )


def _members(
    vectors: UserVectors,
    partition: Partition,
    points: NDArray[np.float32],
    plane: NDArray[np.float32] | None,
) -> pl.DataFrame:
    group, distance, sure = partition.assign(points)
    places = np.full((len(points), 2), np.nan, np.float32) if plane is None else plane
    return pl.DataFrame(
        {
            USER: vectors.users,
            "segment": group,
            "distance": distance,
            "confidence": sure,
            "x": pl.Series(places[:, 0], nan_to_null=True),
            "y": pl.Series(places[:, 1], nan_to_null=True),
        }
    )


def _table(members: pl.DataFrame, points: NDArray[np.float32], names: tuple[str, ...]) -> pl.DataFrame:
    group = members.get_column("segment").to_numpy()
    users = members.get_column(USER)
    rows = []
    for number in [*range(len(names)), *([OUTLIER] if (group == OUTLIER).any() else [])]:
        own = np.flatnonzero(group == number)
        # Nearest the mean: with squared distances that is the medoid up to ties.
        away = np.linalg.norm(points[own] - points[own].mean(axis=0), axis=1) if len(own) else np.zeros(0)
        typical = users.gather(own[np.argsort(away, kind="stable")[:N_TYPICAL]]).to_list()
        name = names[number] if number >= 0 else UNASSIGNED
        rows.append((number, name, len(own), len(own) / len(group), typical if number >= 0 else []))
    schema: dict[str, Any] = {
        "segment": pl.Int32,
        "name": pl.String,
        "n_users": pl.Int64,
        "share": pl.Float64,
        "typical": pl.List(pl.String),
    }
    return pl.DataFrame(rows, schema=schema, orient="row")
