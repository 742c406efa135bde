"""Real logs with no flags: right columns, unit and counts.

The witness is each set's published integrity check, or the standard library's own reading.
"""

from __future__ import annotations

import zipfile
from collections import Counter

import polars as pl
import pytest

from desirepath.errors import DataError
from desirepath.events import inspect, read_events, read_table
from desirepath.schema import ITEM, SESSION, TIME, USER, VALUE

pytestmark = pytest.mark.data


def roles(seen) -> dict[str, str]:
    return {column.role: column.source for column in seen.understanding.columns if column.role}


def counts(seen) -> tuple[int, int, int]:
    return seen.rows, seen.users, seen.items


def test_deskdrop(shared_data):
    seen = inspect(shared_data / "deskdrop-interactions")
    assert counts(seen) == (72_312, 1_895, 2_987)
    assert seen.actions == {
        "VIEW": 61_086,
        "LIKE": 5_745,
        "BOOKMARK": 2_463,
        "COMMENT CREATED": 1_611,
        "FOLLOW": 1_407,
    }
    assert seen.quality.exact_duplicates == 11
    assert seen.quality.repeated == 21_374
    assert roles(seen) == {
        USER: "personId",
        ITEM: "contentId",
        TIME: "timestamp",
        "action": "eventType",
        SESSION: "sessionId",
        "device": "userAgent",
        "region": "userRegion",
        "country": "userCountry",
    }
    assert seen.understanding.time.unit == "s"
    assert (seen.understanding.time.first.year, seen.understanding.time.last.year) == (2016, 2017)
    assert seen.quality.negative_ids > 0


def test_deskdrop_ids_survive(shared_data):
    """Against the standard library's own reading of the same bytes."""
    import csv
    import io

    path = shared_data / "deskdrop-interactions" / "users_interactions.csv.zip"
    with zipfile.ZipFile(path) as archive:
        text = archive.read("users_interactions.csv").decode()
    truth = list(csv.DictReader(io.StringIO(text)))
    frame = read_events(path).lazy.collect()
    for canonical, own in (
        (USER, "personId"),
        (ITEM, "contentId"),
        (SESSION, "sessionId"),
        ("device", "userAgent"),
    ):
        assert frame[canonical].to_list() == [row[own] or None for row in truth]
    assert frame[TIME].dt.epoch("s").to_list() == [int(row["timestamp"]) for row in truth]


def test_movielens_1m(shared_data):
    log = read_events(shared_data / "movielens-1m-sequences" / "interactions.csv.gz")
    n = log.lazy.select(pl.len(), pl.col(USER, ITEM).n_unique()).collect().row(0)
    assert n == (999_611, 6_040, 3_416)
    assert log.understanding.time.unit == "s"


def test_movielens_100k(shared_data):
    seen = inspect(shared_data / "movielens-100k" / "u.data")
    assert counts(seen) == (100_000, 943, 1_682)
    assert roles(seen) == {USER: "column_1", ITEM: "column_2", VALUE: "column_3", TIME: "column_4"}
    assert seen.understanding.time.unit == "s"


def test_beauty(shared_data):
    seen = inspect(shared_data / "amazon-beauty-2014" / "interactions.csv.gz")
    assert counts(seen) == (198_502, 22_363, 12_101)
    assert seen.understanding.time.resolution_s == 86_400
    assert round(seen.quality.tied / seen.rows, 2) == 0.58


def test_beauty_sequences(shared_data):
    seen = inspect(shared_data / "leave-one-out-sequences" / "Beauty.txt")
    assert counts(seen) == (198_502, 22_363, 12_101)
    assert seen.understanding.ordered_by_file
    frame = read_events(shared_data / "leave-one-out-sequences" / "Beauty.txt").lazy.collect()
    first = frame.filter(pl.col(USER) == "2")[ITEM].to_list()
    assert first == ["6", "7", "8", "9", "10", "4", "11"]


def test_foursquare(shared_data):
    seen = inspect(shared_data / "foursquare-nyc-stan" / "checkins.csv.gz")
    assert counts(seen) == (147_938, 1_083, 5_135)
    assert seen.quality.exact_duplicates == 458
    time = seen.understanding.time
    assert (time.source, time.unit, time.is_relative) == ("minute", "minutes", True)
    assert (time.last.timestamp() / 60, time.first.timestamp() / 60) == (458_435, 1)


@pytest.mark.slow
def test_globo(shared_data):
    seen = inspect(shared_data / "globo-clicks")
    assert counts(seen) == (2_988_181, 322_897, 46_033)
    assert len(seen.understanding.files) == 385
    assert seen.quality.header_only_files == 1
    assert seen.quality.exact_duplicates == 0
    assert any("1 of 385 files has only a header" in note for note in seen.understanding.notes)
    assert seen.understanding.time.unit == "ms"
    found = roles(seen)
    assert (found[USER], found[ITEM], found[TIME]) == ("user_id", "click_article_id", "click_timestamp")
    assert found[SESSION] == "session_id"


def test_lastfm(shared_data):
    folder = shared_data / "lastfm-hetrec2011"
    listens = inspect(folder / "user_artists.dat")
    assert counts(listens) == (92_834, 1_892, 17_632)
    assert listens.understanding.ordered_by_file
    assert roles(listens)[VALUE] == "weight"
    tags = inspect(folder / "user_taggedartists.dat")
    assert tags.rows == 186_479
    assert tags.understanding.time.source == "year+month+day"
    assert tags.quality.before_1990 == 5  # dated 1956, 1957 and 1979


@pytest.mark.parametrize(
    ("name", "rows", "item", "without_time"),
    [
        ("replies", 24_097, "id", 30),
        ("article_replies", 26_774, "articleId", 34),
        ("article_reply_feedbacks", 62_373, "articleId", 0),
        ("reply_requests", 37_722, "articleId", 37),
    ],
)
def test_cofacts(shared_data, name, rows, item, without_time):
    """Quoted texts with line ends; users that are unique only within an app."""
    seen = inspect(shared_data / "cofacts-zh" / f"{name}.csv.zip")
    assert seen.rows == rows
    found = roles(seen)
    assert (found[USER], found[ITEM], found[TIME]) == ("userIdsha256", item, "createdAt")
    assert seen.quality.missing_time == without_time
    assert seen.problems == {}
    if name == "reply_requests":
        assert seen.quality.missing_user == 7_617
        assert seen.quality.exact_duplicates == 99
    if name == "replies":
        assert seen.quality.missing_user == 173
    assert any("userIdsha256+appId" in note for note in seen.understanding.notes)


def test_event_types_in_continuous_time(shared_data):
    taxi = inspect(shared_data / "tpp-taxi" / "events.csv.gz")
    assert taxi.rows == 51_854 + 7_404 + 14_820
    assert taxi.n_actions == 10
    assert taxi.understanding.time.is_relative
    assert any("--user seq_id+split" in note for note in taxi.understanding.notes)
    badges = inspect(shared_data / "tpp-stackoverflow-badges" / "events.csv.gz")
    assert counts(badges) == (327_487, 4_468, 22)
    assert badges.understanding.time.unit == "float s"
    assert (badges.understanding.time.first.year, badges.understanding.time.last.year) == (2012, 2013)


def test_open_bandit_has_no_user(shared_data):
    path = shared_data / "open-bandit-small" / "bts" / "men" / "men.csv"
    with pytest.raises(DataError, match=r"which user.*--user user_feature_0\+user_feature_1"):
        read_events(path)
    seen = inspect(path)
    assert not seen.is_usable
    assert (seen.rows, seen.items) == (10_000, 34)
    assert roles(seen)[TIME] == "timestamp"
    assert roles(seen)["position"] == "position"


@pytest.mark.parametrize(
    ("name", "n"), [("BMS1_spmf", 59_601), ("FIFA", 20_450), ("LEVIATHAN", 5_834), ("SIGN", 730)]
)
def test_sequence_files(shared_data, name, n):
    log = read_events(shared_data / "spmf-sequences" / f"{name}.txt")
    frame = log.lazy.collect()
    assert frame[USER].n_unique() == n
    words = (shared_data / "spmf-sequences" / f"{name}.txt").read_text().split()
    assert dict(frame[ITEM].value_counts().iter_rows()) == dict(Counter(words))


@pytest.mark.parametrize(
    ("folder", "rows"),
    [
        ("movielens-1m-sequences", 999_611),
        ("movielens-100k", 100_000),
        ("amazon-beauty-2014", 198_502),
        ("lastfm-hetrec2011", 186_479),
    ],
)
def test_whole_folders(shared_data, folder, rows):
    """The log is told from the tables beside it."""
    log = read_events(shared_data / folder)
    assert log.lazy.select(pl.len()).collect().item() == rows
    assert any(note.startswith(("Left out", "Set aside")) for note in log.understanding.notes)


@pytest.mark.parametrize("path", ["hillstrom-uplift/hillstrom.csv", "attribution-paths/paths.csv"])
def test_what_is_no_log(shared_data, path):
    with pytest.raises(DataError):
        read_events(shared_data / path)


@pytest.mark.parametrize(
    ("path", "kind", "rows", "columns"),
    [
        ("movielens-1m-sequences/movies.dat", "items", 3_883, ["item_id", "title", "column_3"]),
        (
            "movielens-1m-sequences/users.dat",
            "users",
            6_040,
            ["user_id", "column_2", "column_3", "column_4", "column_5"],
        ),
        ("movielens-100k/u.item", "items", 1_682, ["item_id", "title", "column_3"]),
        ("movielens-100k/u.user", "users", 943, ["user_id", "column_2", "column_3", "column_4", "column_5"]),
        ("amazon-beauty-2014/items.csv.gz", "items", 12_101, ["item_id", "title", "attribute_ids"]),
        ("lastfm-hetrec2011/artists.dat", "items", 17_632, ["item_id", "name", "url", "pictureURL"]),
        ("lastfm-hetrec2011/tags.dat", "items", 11_946, ["item_id", "tagValue"]),
        ("foursquare-nyc-stan/pois.csv.gz", "items", 5_135, ["item_id", "lat", "lon"]),
        ("open-bandit-small/bts/men/item_context.csv", "items", 34, ["item_id", "item_feature_0"]),
    ],
)
def test_tables(shared_data, path, kind, rows, columns):
    frame = read_table(shared_data / path, kind)
    assert frame.height == rows
    assert frame.columns[: len(columns)] == columns
    assert frame.schema[columns[0]] == pl.String()


def test_encodings_beside_each_other(shared_data):
    """tags.dat is latin-1 from byte 48,269 on; artists.dat is UTF-8."""
    folder = shared_data / "lastfm-hetrec2011"
    assert "björk" in set(read_table(folder / "artists.dat", "items")["name"].str.to_lowercase())
    raw = (folder / "tags.dat").read_bytes().decode("cp1252").splitlines()[1:]
    got = read_table(folder / "tags.dat", "items")["tagValue"].fill_null("")
    assert got.cast(pl.String).to_list() == [line.split("\t")[1] for line in raw]


def test_leading_zeros_of_zip_codes(shared_data):
    zips = read_table(shared_data / "movielens-1m-sequences" / "users.dat", "users")["column_5"]
    assert zips.dtype == pl.String()
    assert "02460" in set(zips)
