"""Inspects every real event log with no flags and checks columns, time unit and counts.

The expected figures are the integrity checks published beside the data sets. Where those are silent
(events of the SPMF files, artists of the Last.fm tags, items of the Open Bandit men's campaign) they
were counted with wc, cut and sort.
Ends with exit status 1 when one of them is missed.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from desirepath.events import Inspection, inspect
from record import DATA, record


@dataclass(frozen=True)
class Expected:
    """What a data set must show; None is not checked."""

    path: str
    rows: int
    users: int | None = None
    items: int | None = None
    roles: dict[str, str] = field(default_factory=dict)
    unit: str = ""
    more: dict[str, tuple[Callable[[Inspection], Any], Any]] = field(default_factory=dict)


DUPLICATES: Callable[[Inspection], Any] = lambda seen: seen.quality.exact_duplicates  # noqa: E731
USERS, ITEMS, TIMES, ACTIONS = "user_id", "item_id", "time", "action"
LOGS = (
    Expected(
        "deskdrop-interactions",
        72_312,
        1_895,
        2_987,
        {
            USERS: "personId",
            ITEMS: "contentId",
            TIMES: "timestamp",
            ACTIONS: "eventType",
            "session_id": "sessionId",
        },
        "s",
        {
            "actions": (lambda seen: seen.n_actions, 5),
            "duplicates": (DUPLICATES, 11),
            "repeated": (lambda seen: seen.quality.repeated, 21_374),
        },
    ),
    Expected(
        "globo-clicks/clicks.zip",
        2_988_181,
        322_897,
        46_033,
        {USERS: "user_id", ITEMS: "click_article_id", TIMES: "click_timestamp", "session_id": "session_id"},
        "ms",
        {
            "files": (lambda seen: len(seen.understanding.files), 385),
            "header-only": (lambda seen: seen.quality.header_only_files, 1),
            "duplicates": (DUPLICATES, 0),
        },
    ),
    Expected(
        "movielens-1m-sequences/interactions.csv.gz",
        999_611,
        6_040,
        3_416,
        {USERS: "user_id", ITEMS: "movie_id", TIMES: "timestamp"},
        "s",
        {"tied share": (lambda seen: round(seen.quality.tied / seen.rows, 2), 0.77)},
    ),
    Expected(
        "movielens-100k/u.data",
        100_000,
        943,
        1_682,
        {USERS: "column_1", ITEMS: "column_2", "value": "column_3", TIMES: "column_4"},
        "s",
    ),
    Expected(
        "amazon-beauty-2014/interactions.csv.gz",
        198_502,
        22_363,
        12_101,
        {USERS: "user_id", ITEMS: "item_id", TIMES: "timestamp"},
        "s",
        {
            "grain": (lambda seen: seen.understanding.time.resolution_s, 86_400.0),
            "tied share": (lambda seen: round(seen.quality.tied / seen.rows, 2), 0.58),
        },
    ),
    Expected(
        "foursquare-nyc-stan/checkins.csv.gz",
        147_938,
        1_083,
        5_135,
        {USERS: "user_id", ITEMS: "poi_id", TIMES: "minute"},
        "minutes",
        {
            "duplicates": (DUPLICATES, 458),
            "relative": (lambda seen: seen.understanding.time.is_relative, True),
        },
    ),
    Expected("leave-one-out-sequences/Beauty.txt", 198_502, 22_363, 12_101, unit="file order"),
    Expected("leave-one-out-sequences/Toys_and_Games.txt", 167_597, 19_412, 11_924, unit="file order"),
    Expected(
        "lastfm-hetrec2011/user_artists.dat",
        92_834,
        1_892,
        17_632,
        {USERS: "userID", ITEMS: "artistID", "value": "weight"},
        "file order",
    ),
    Expected(
        "lastfm-hetrec2011/user_taggedartists.dat",
        186_479,
        1_892,
        12_523,
        {USERS: "userID", ITEMS: "artistID"},
        "yyyy-mm-dd",
        {"dated before 1990": (lambda seen: seen.quality.before_1990, 5)},
    ),
    Expected(
        "cofacts-zh/replies.csv.zip",
        24_097,
        roles={USERS: "userIdsha256", ITEMS: "id", TIMES: "createdAt", ACTIONS: "type"},
        unit="ISO 8601 with offset",
        more={"missing users": (lambda seen: seen.quality.missing_user, 173)},
    ),
    Expected(
        "cofacts-zh/article_replies.csv.zip",
        26_774,
        roles={USERS: "userIdsha256", ITEMS: "articleId", TIMES: "createdAt"},
        unit="ISO 8601 with offset",
    ),
    Expected(
        "cofacts-zh/article_reply_feedbacks.csv.zip",
        62_373,
        roles={USERS: "userIdsha256", ITEMS: "articleId", TIMES: "createdAt", "value": "score"},
        unit="ISO 8601 with offset",
    ),
    Expected(
        "cofacts-zh/reply_requests.csv.zip",
        37_722,
        roles={USERS: "userIdsha256", ITEMS: "articleId", TIMES: "createdAt"},
        unit="ISO 8601 with offset",
        more={
            "duplicates": (DUPLICATES, 99),
            "missing users": (lambda seen: seen.quality.missing_user, 7_617),
            "missing times": (lambda seen: seen.quality.missing_time, 37),
        },
    ),
    Expected(
        "tpp-taxi/events.csv.gz",
        74_078,
        roles={USERS: "seq_id", TIMES: "time", ACTIONS: "type"},
        unit="s",
        more={
            "actions": (lambda seen: seen.n_actions, 10),
            "relative": (lambda seen: seen.understanding.time.is_relative, True),
        },
    ),
    Expected(
        "tpp-stackoverflow-badges/events.csv.gz",
        327_487,
        4_468,
        22,
        {USERS: "user", ITEMS: "badge_id", TIMES: "time"},
        "float s",
    ),
    Expected(
        "open-bandit-small/bts/men/men.csv",
        10_000,
        0,
        34,
        {ITEMS: "item_id", TIMES: "timestamp", "position": "position"},
        "ISO 8601 with offset",
        {"usable": (lambda seen: seen.is_usable, False)},
    ),
    Expected("spmf-sequences/BMS1_spmf.txt", 149_638, 59_601, unit="file order"),
    Expected("spmf-sequences/FIFA.txt", 741_092, 20_450, unit="file order"),
    Expected("spmf-sequences/LEVIATHAN.txt", 197_251, 5_834, unit="file order"),
    Expected("spmf-sequences/SIGN.txt", 37_958, 730, unit="file order"),
)


def verdict(expected: Expected, seen: Inspection) -> dict[str, Any]:
    """Each figure as [found, expected], and whether all agree."""
    found = {column.role: column.source for column in seen.understanding.columns if column.role}
    pairs: dict[str, list[Any]] = {"rows": [seen.rows, expected.rows]}
    for name, value, want in (("users", seen.users, expected.users), ("items", seen.items, expected.items)):
        if want is not None:
            pairs[name] = [value, want]
    pairs |= {role: [found.get(role), column] for role, column in expected.roles.items()}
    if expected.unit:
        pairs["unit"] = [seen.understanding.time.unit, expected.unit]
    pairs |= {name: [look(seen), want] for name, (look, want) in expected.more.items()}
    return {"ok": all(value == want for value, want in pairs.values()), **pairs}


def main() -> int:
    """Inspect every log, record the figures, and say how many agree."""
    figures: dict[str, Any] = {}
    for expected in LOGS:
        began = time.perf_counter()
        seen = inspect(DATA / expected.path)
        figures[expected.path] = verdict(expected, seen) | {"seconds": round(time.perf_counter() - began, 2)}
        print(
            f"{'ok  ' if figures[expected.path]['ok'] else 'MISS'} {expected.path}: {seen.rows:,} rows",
            flush=True,
        )
    agreed = sum(entry["ok"] for entry in figures.values())
    figures["agreed"] = f"{agreed} of {len(LOGS)}"
    figures["peak_mib"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    record("inspect-real", figures)
    return 0 if agreed == len(LOGS) else 1


if __name__ == "__main__":
    sys.exit(main())
