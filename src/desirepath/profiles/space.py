# SPDX-License-Identifier: Apache-2.0
"""The space in which users are compared: each block on a common scale, then principal components.

Learned from one set of user vectors and laid on others, so that users of another day land in the same
place. It knows no segments; what it learned is plain data.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from desirepath.errors import ConfigError, DataError, TooLittleData
from desirepath.profiles.vectors import Block, Columns, Kind, UserVectors

Array = NDArray[np.float64]

CHUNK = 65_536
"""Users that are laid into the space at once: bounds the memory of wide blocks."""
CLIP = 3.0
"""Standard deviations beyond which a number counts no further: a robot must not own a segment."""
HOUR_KERNEL = (0.25, 0.5, 0.25)
"""Each hour shares with its neighbours, since the clock's edges mean nothing."""
CHANCE_USERS = 5_000
"""Users who are drawn to see what chance brings."""
LEAST_SINGLE = 200
"""Users of a single event from whom on theirs are what is drawn."""
MOST_DRAWN = 100
"""Events of one user that are drawn from those: beyond, chance brings next to nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpaceConfig:
    """How blocks are weighed and how many components are kept."""

    weights: Mapping[str, float] = field(default_factory=lambda: {"level": 0.5, "age": 0.0, "trait": 0.0})
    """Weight by block or by the part of its name before the colon; not named weighs 1; at least 0.
    How much a user does weighs half and since when not at all, as RFM and activity classes tell those;
    traits describe segments and do not make them."""
    smoothing: float = 5.0
    """Events that the crowd's shares are worth beside a user's own; at least 0."""
    variance: float = 0.9
    """Share of the variance that the kept components explain; above 0, at most 1."""
    max_components: int = 50
    """Most components kept; at least 2."""
    n_latent: int = 16
    """Dimensions to which a block of presences (items, patterns) is brought first; at least 1."""
    fit_users: int = 100_000
    """Users from whom scales and components are learned, drawn by seed when there are more; at least 100."""

    def __post_init__(self) -> None:
        if any(not weight >= 0 for weight in self.weights.values()):
            raise ConfigError(f"weights must be at least 0; got {dict(self.weights)}.")
        if not self.smoothing >= 0:
            raise ConfigError(f"smoothing must be at least 0 events; got {self.smoothing}.")
        if not 0 < self.variance <= 1:
            raise ConfigError(f"variance must lie above 0 and at most 1; got {self.variance}.")
        for name, least in (("max_components", 2), ("n_latent", 1), ("fit_users", 100)):
            if getattr(self, name) < least:
                raise ConfigError(f"{name} must be at least {least}; got {getattr(self, name)}.")

    def weight(self, block: str) -> float:
        """The weight of a block of that name."""
        return float(self.weights.get(block, self.weights.get(block.split(":", 1)[0], 1.0)))


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockScale:
    """What was learned of one block."""

    name: str
    kind: Kind
    columns: tuple[str, ...]
    centre: Array
    """(F',) subtracted last, before `factor`."""
    scale: Array
    """(F,) number: what a column is divided by. share: the crowd's shares. presence: rarity weights."""
    mean: Array
    """(F,) number: the mean subtracted first; otherwise empty."""
    basis: Array
    """(F, F') presence: the latent directions; otherwise empty."""
    smoothing: float
    reliability: float
    """Share of the variance along the block's first component that chance does not bring, 0 to 1."""
    factor: float
    """weight * reliability / standard deviation of the first component."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Space:
    """Scales of the blocks, and the components of all of them together."""

    scales: tuple[BlockScale, ...]
    components: Array
    """(F_all, D) orthonormal directions, greatest variance first."""
    explained: Array
    """(D,) share of the variance that each explains."""

    @property
    def n_components(self) -> int:
        """D, the number of components kept."""
        return int(self.components.shape[1])

    @property
    def columns(self) -> Columns:
        """The columns that vectors must have to be laid into this space; pass as `like=`."""
        return {scale.name: scale.columns for scale in self.scales}

    @staticmethod
    def fit(vectors: UserVectors, config: SpaceConfig | None = None, seed: int = 0) -> Space:
        """The space of these vectors.

        Numbers: ln(1 + x) (they are counts, days, seconds and amounts), z-score, cut at 3 standard
        deviations. Shares: drawn to the crowd by `smoothing` events, then their square root, in which
        sampling noise is alike for small and large shares (the Hellinger distance). Presences: rarity
        weights, unit length, truncated SVD. Then each block is divided by the standard deviation of
        its first component, so that none rules by its number of columns, and multiplied by the part of
        its variance which chance does not bring: 1 - noise / lambda_1, with the first eigenvalue of users who
        are all alike, each with as many events (or sittings) as a real one. Who came once has no rhythm, and
        where nearly all came once, hours weigh next to nothing. A user who holds n presences is drawn to the
        centre by n / (n + m), too.

        Source: the division is that of multiple factor analysis (Escofier and Pagès, Computational
        Statistics & Data Analysis 18, 1994); the square root that of Legendre and Gallagher, Oecologia
        129 (2001); holding eigenvalues against those of chance is parallel analysis (Horn, Psychometrika 30,
        1965), here with each user's own number of events. The reliability factor is ours.

        Raises:
            TooLittleData: no block varies between users.
        """
        config = config or SpaceConfig()
        rows = drawn(len(vectors), config.fit_users, seed)
        scales, pieces = [], []
        for block in vectors.blocks:
            if config.weight(block.name) > 0 and block.columns:
                learned = _learn(block, rows, config, seed)
                if learned is not None:
                    scales.append(learned)
                    pieces.append(_laid(learned, block, rows))
        if not pieces:
            raise TooLittleData(
                "Segments need users who differ; no column varies between them. Hand in more attributes."
            )
        x = np.hstack(pieces)
        values, directions = np.linalg.eigh(np.cov(x, rowvar=False).reshape(x.shape[1], -1))
        share = np.maximum(values[::-1], 0) / max(values.sum(), 1e-300)
        enough = int(np.searchsorted(np.cumsum(share), config.variance - 1e-9) + 1)
        kept = min(max(2, min(enough, config.max_components)), x.shape[1])
        components = directions[:, ::-1][:, :kept]
        # The sign of an eigenvector is free: the greatest entry is made positive.
        signs = np.sign(components[np.abs(components).argmax(axis=0), np.arange(kept)])
        return Space(scales=tuple(scales), components=components * signs, explained=share[:kept])

    def transform(self, vectors: UserVectors) -> NDArray[np.float32]:
        """(U, D) coordinates of the users.

        Raises:
            DataError: the vectors lack a block or column of this space.
        """
        blocks = [_matching(vectors.block(scale.name), scale) for scale in self.scales]
        out = np.empty((len(vectors), self.n_components), np.float32)
        for rows in _chunks(len(vectors)):
            pieces = [_laid(s, b, rows) for s, b in zip(self.scales, blocks, strict=True)]
            out[rows] = np.hstack(pieces) @ self.components
        return out

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; `from_dict` makes the same space of it."""
        scales = [
            {
                name: value.tolist() if isinstance(value, np.ndarray) else value
                for name in BlockScale.__slots__
                for value in [getattr(scale, name)]
            }
            for scale in self.scales
        ]
        return {
            "scales": scales,
            "components": self.components.tolist(),
            "explained": self.explained.tolist(),
        }

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> Space:
        """What `to_dict` gave."""
        arrays = ("centre", "scale", "mean", "basis")
        scales = [
            BlockScale(
                **{  # type: ignore[arg-type]
                    name: np.array(value, np.float64) if name in arrays else value
                    for name, value in entry.items()
                    if name != "columns"
                },
                columns=tuple(entry["columns"]),
            )
            for entry in data["scales"]
        ]
        return Space(
            scales=tuple(scales),
            components=np.array(data["components"], np.float64),
            explained=np.array(data["explained"], np.float64),
        )


def drawn(n: int, most: int, seed: int) -> NDArray[np.int64]:
    """All of n rows, or `most` of them drawn by seed, in order."""
    if n <= most:
        return np.arange(n)
    chosen: NDArray[np.int64] = np.sort(np.random.default_rng(seed).choice(n, most, replace=False))
    return chosen


def _chunks(n: int) -> Iterator[NDArray[np.int64]]:
    for start in range(0, n, CHUNK):
        yield np.arange(start, min(n, start + CHUNK))


def _matching(block: Block, scale: BlockScale) -> Block:
    if block.columns != scale.columns:
        missing = [name for name in scale.columns if name not in set(block.columns)][:3]
        raise DataError(
            f"The block '{block.name}' must have the columns that the segments were found with; "
            f"it has {len(block.columns)} instead of {len(scale.columns)}"
            f"{f' and lacks {missing}' if missing else ''}. Make the vectors with like=segments.columns."
        )
    return block


def _learn(block: Block, rows: NDArray[np.int64], config: SpaceConfig, seed: int) -> BlockScale | None:
    none = np.zeros(0)
    blank: dict[str, Any] = {
        "name": block.name,
        "kind": block.kind,
        "columns": block.columns,
        "centre": none,
        "scale": none,
        "mean": none,
        "basis": none,
        "smoothing": config.smoothing if block.kind in ("share", "presence") else 0.0,
        "reliability": 1.0,
        "factor": 1.0,
    }
    if block.kind == "number":
        logs = _logs(np.asarray(block.values[rows], np.float64))
        mean = np.nan_to_num(np.nanmean(logs, axis=0)) if np.isfinite(logs).any() else np.zeros(logs.shape[1])
        spread = np.nan_to_num(np.nanstd(logs, axis=0)) if np.isfinite(logs).any() else np.ones(logs.shape[1])
        blank |= {"mean": mean, "scale": np.where(spread > 1e-9, spread, np.inf)}
    elif block.kind == "share":
        assert block.evidence is not None
        n = np.asarray(block.evidence[rows], np.float64)
        told = n > 0
        crowd = np.asarray(block.values[rows], np.float64)[told].mean(axis=0) if told.any() else none
        if not told.any():
            return None
        blank |= {"scale": crowd}
    elif block.kind == "presence":
        blank |= _latent(sp.csr_array(block.values)[rows], config.n_latent, seed)
        if not blank["basis"].size:
            return None
    plain = BlockScale(**blank)
    x = _laid(plain, block, rows)
    centre = x.mean(axis=0)
    covariance = np.cov(x - centre, rowvar=False).reshape(x.shape[1], -1)
    first = float(np.linalg.eigvalsh(covariance)[-1])
    if first < 1e-9:
        return None
    reliability = 1.0
    if block.kind == "share":
        alike = by_chance(block, rows, seed)
        chance = _laid(plain, alike, np.arange(alike.values.shape[0]))
        noise = float(np.linalg.eigvalsh(np.cov(chance, rowvar=False).reshape(x.shape[1], -1))[-1])
        reliability = max(0.0, 1.0 - noise / first)
    factor = config.weight(block.name) * reliability / np.sqrt(first)
    return BlockScale(**(blank | {"centre": centre, "reliability": reliability, "factor": float(factor)}))


def by_chance(block: Block, rows: NDArray[np.int64], seed: int) -> Block:
    """The shares of users who are all alike: each has as many events as a real one, drawn from the crowd's.

    Where enough users have a single event (or sitting), theirs are what is drawn, since one sitting may
    spread over several hours; otherwise labels are drawn by the crowd's shares.
    """
    assert block.evidence is not None
    draw = np.random.default_rng(seed)
    told = rows[np.asarray(block.evidence[rows]) > 0]
    picked = told[drawn(len(told), CHANCE_USERS, seed)]
    n = np.maximum(1, np.rint(np.asarray(block.evidence[picked], np.float64))).astype(np.int64)
    single = told[np.asarray(block.evidence[told]) == 1]
    if len(single) >= LEAST_SINGLE:
        n = np.minimum(n, MOST_DRAWN)
        chosen = single[draw.integers(0, len(single), n.sum())]
        begins = np.cumsum(n) - n
        values = np.add.reduceat(np.asarray(block.values[chosen], np.float64), begins, axis=0) / n[:, None]
    else:
        crowd = np.asarray(block.values[told], np.float64).mean(axis=0)
        rest = max(0.0, 1.0 - crowd.sum())
        shares = np.append(crowd, rest) / (crowd.sum() + rest)
        values = draw.multinomial(n, shares)[:, :-1] / n[:, None]
    return Block(
        name=block.name,
        kind=block.kind,
        columns=block.columns,
        values=values.astype(np.float32),
        evidence=n.astype(np.float32),
    )


def _latent(presence: sp.csr_array, n_latent: int, seed: int) -> dict[str, Array]:
    """Rarity weights ln((1 + U) / (1 + users of the column)), and directions of the weighted rows."""
    from sklearn.decomposition import TruncatedSVD

    n_users, width = presence.shape
    held = np.asarray(presence.sum(axis=0)).ravel()
    rarity = np.log((1 + n_users) / (1 + held))
    weighted = _unit_rows(presence, rarity)
    size = min(n_latent, width - 1, n_users - 1)
    if size < 1 or weighted.nnz == 0:
        return {"scale": rarity, "basis": np.zeros((0, 0))}
    found = TruncatedSVD(size, algorithm="randomized", n_iter=5, random_state=seed).fit(weighted)
    return {"scale": rarity, "basis": np.asarray(found.components_.T, np.float64)}


def _unit_rows(presence: sp.csr_array, rarity: Array) -> sp.csr_array:
    weighted = sp.csr_array(presence @ sp.diags_array(rarity))
    length = np.sqrt(np.asarray(weighted.multiply(weighted).sum(axis=1)).ravel())
    inverse = np.divide(1.0, length, out=np.zeros_like(length), where=length > 0)
    return sp.csr_array(sp.diags_array(inverse) @ weighted)


def _logs(x: Array) -> Array:
    return np.sign(x) * np.log1p(np.abs(x))


def _laid(scale: BlockScale, block: Block, rows: NDArray[np.int64]) -> Array:
    """(rows, F') the block on the learned scale; what is unknown of a user stands at the centre."""
    unknown: Any = np.zeros(len(rows), np.bool_)
    if scale.kind == "number":
        z = (_logs(np.asarray(block.values[rows], np.float64)) - scale.mean) / scale.scale
        x = np.clip(np.nan_to_num(z, nan=0.0), -CLIP, CLIP)
    elif scale.kind == "share":
        assert block.evidence is not None
        n = np.asarray(block.evidence[rows], np.float64)[:, None]
        own = np.asarray(block.values[rows], np.float64)
        mixed = (n * own + scale.smoothing * scale.scale) / np.maximum(n + scale.smoothing, 1e-9)
        if scale.name == "hour":
            left, middle, right = HOUR_KERNEL
            mixed = left * np.roll(mixed, 1, axis=1) + middle * mixed + right * np.roll(mixed, -1, axis=1)
        x = np.sqrt(mixed)
        unknown = n[:, 0] == 0
    elif scale.kind == "presence":
        weighted = _unit_rows(sp.csr_array(block.values)[rows], scale.scale)
        held = np.diff(weighted.indptr)[:, None]
        x = np.asarray(weighted @ scale.basis)
        unknown = held[:, 0] == 0
        if scale.centre.size:
            # One thing held says little: such users are drawn to the centre, as shares are.
            x = scale.centre + (x - scale.centre) * (held / np.maximum(held + scale.smoothing, 1e-9))
    else:
        raw = np.asarray(block.values[rows], np.float64)
        unknown = ~np.isfinite(raw).all(axis=1)
        raw = np.where(unknown[:, None], 0.0, raw)
        x = raw / np.maximum(np.linalg.norm(raw, axis=1, keepdims=True), 1e-12)
    if not scale.centre.size:
        return x
    return np.where(unknown[:, None], 0.0, (x - scale.centre) * scale.factor)
