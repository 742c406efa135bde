"""Times: the witness is Python's datetime, which wrote the values."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from desirepath.errors import ConfigError, DataError
from desirepath.events.masking import mask
from desirepath.events.times import understand

MOMENTS = [
    datetime(2016, 3, 14, 13, 54, 36, tzinfo=UTC) + timedelta(days=17 * i, seconds=3671 * i)
    for i in range(60)
]
DAYS = [moment.replace(hour=0, minute=0, second=0) for moment in MOMENTS]
EXACT = [moment + timedelta(microseconds=123_457 * (i + 1) % 1_000_000) for i, moment in enumerate(MOMENTS)]


def read(values, name="timestamp", unit=None):
    series = values if isinstance(values, pl.Series) else pl.Series(name, values, strict=False)
    clock = understand(series, name, unit)
    frame = series.alias("t").to_frame().lazy().select(clock.moments(pl.col("t"), series.dtype))
    return frame.collect()["t"].to_list(), clock


def epoch(moment: datetime, scale: int) -> int:
    return ((moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)) * scale // 1_000_000


@pytest.mark.parametrize(("unit", "scale"), [("s", 1), ("ms", 10**3), ("us", 10**6), ("ns", 10**9)])
@pytest.mark.parametrize("as_text", [False, True])
def test_epochs(unit, scale, as_text):
    values = [epoch(moment, scale) for moment in MOMENTS]
    got, clock = read([str(v) for v in values] if as_text else values)
    assert got == MOMENTS
    assert clock.unit == unit
    assert "2016" in clock.reason


def test_float_seconds_are_exact_to_the_microsecond():
    got, clock = read([f"{epoch(m, 10**6) / 1e6:.6f}" for m in EXACT])
    assert got == EXACT
    assert clock.unit == "float s"


@pytest.mark.parametrize(
    ("pattern", "truth"),
    [
        ("%Y%m%d", DAYS),
        ("%Y%m%d%H%M%S", MOMENTS),
        ("%Y%m%d%H%M", [m.replace(second=0) for m in MOMENTS]),
        ("%Y%m%d%H", [m.replace(minute=0, second=0) for m in MOMENTS]),
        ("%y%m%d%H%M%S", MOMENTS),
        ("%Y-%m-%d", DAYS),
        ("%Y-%m-%d %H:%M:%S", MOMENTS),
        ("%Y-%m-%dT%H:%M:%SZ", MOMENTS),
        ("%Y-%m-%d %H:%M:%S UTC", MOMENTS),
        ("%Y-%m-%dT%H:%M:%S.%fZ", EXACT),
        ("%Y-%m-%d %H:%M:%S.%f+00:00", EXACT),
        ("%Y-%m-%dT%H:%M", [m.replace(second=0) for m in MOMENTS]),
        ("%Y/%m/%d %H:%M:%S", MOMENTS),
        ("%d-%b-%Y", DAYS),
        ("%d %b %Y %H:%M:%S", MOMENTS),
        ("%d/%b/%Y:%H:%M:%S +0000", MOMENTS),
        ("%m/%d/%Y %H:%M", [m.replace(second=0) for m in MOMENTS]),
        ("%d/%m/%Y %H:%M:%S", MOMENTS),
        ("%d.%m.%Y", DAYS),
        ("%m/%d/%y", DAYS),
        ("%m/%d/%Y %I:%M:%S %p", MOMENTS),
        ("%a %b %d %H:%M:%S +0000 %Y", MOMENTS),
        ("%a, %d %b %Y %H:%M:%S GMT", MOMENTS),
        ("%m %d, %Y", DAYS),
        ("%Y年%m月%d日", DAYS),
        ("%Y%m%dT%H%M%SZ", MOMENTS),
    ],
)
def test_written_moments(pattern, truth):
    got, clock = read([moment.strftime(pattern) for moment in truth])
    assert got == truth, clock


def test_any_offset():
    zone = timezone(timedelta(hours=5, minutes=45))
    got, _ = read([m.astimezone(zone).isoformat() for m in EXACT])
    assert got == EXACT


def test_mixed_forms():
    values = [
        m.strftime("%Y-%m-%d %H:%M:%S" if i % 3 else "%Y-%m-%dT%H:%M:%SZ") for i, m in enumerate(MOMENTS)
    ]
    got, clock = read(values)
    assert got == MOMENTS
    assert " or " in clock.unit


def test_unpadded_month_first():
    got, _ = read(["12/1/2010 8:26", "1/13/2011 18:02"])
    assert got == [datetime(2010, 12, 1, 8, 26, tzinfo=UTC), datetime(2011, 1, 13, 18, 2, tzinfo=UTC)]


def test_ambiguous_day_and_month_is_said():
    days = [date(2024, 1, 2) + timedelta(days=31 * i) for i in range(10)]
    values = [
        f"{d.day % 12 + 1:02}/{i + 1:02}/2024" for i, d in enumerate(days)
    ]  # months grow when day comes first
    _, clock = read(values)
    assert "could be swapped" in clock.reason
    assert clock.unit == "dd/mm/yyyy"


def test_native_kinds():
    naive = [m.replace(tzinfo=None) for m in MOMENTS]
    assert read(pl.Series("t", naive))[0] == MOMENTS
    berlin = pl.Series("t", MOMENTS).dt.convert_time_zone("Europe/Berlin")
    assert read(berlin)[0] == MOMENTS
    assert read(pl.Series("t", [d.date() for d in DAYS]))[0] == DAYS


@pytest.mark.parametrize(
    ("name", "seconds"), [("minute", 60), ("hours", 3600), ("day", 86400), ("elapsed_ms", 0.001)]
)
def test_small_numbers_take_their_unit_from_the_name(name, seconds):
    got, clock = read([5, 17, 2], name)
    assert clock.is_relative
    assert "origin not stated" in clock.reason
    assert [m.timestamp() for m in got] == [5 * seconds, 17 * seconds, 2 * seconds]


def test_small_numbers_without_a_unit_are_not_dated():
    _, clock = read([0.0, 0.07, 21.5], "time")
    assert clock.is_relative
    assert clock.confidence < 0.5
    assert "no unit is stated" in clock.reason


def test_as_asked():
    assert read([43831], "order_date", "excel")[0] == [datetime(2020, 1, 1, tzinfo=UTC)]
    assert read([18262], "d", "days")[0] == [datetime(2020, 1, 1, tzinfo=UTC)]
    assert read(["03.04.2020"], "d", "%d.%m.%Y")[0] == [datetime(2020, 4, 3, tzinfo=UTC)]
    assert read(["20200403"], "d", "yyyymmdd")[0] == [datetime(2020, 4, 3, tzinfo=UTC)]
    with pytest.raises(ConfigError, match="minutes"):
        understand(pl.Series("t", [1]), "t", "minuets")
    with pytest.raises(DataError, match="fits none"):
        understand(pl.Series("t", ["x"]), "t", "%Y")


def test_what_is_no_moment():
    with pytest.raises(DataError, match="aaaa") as error:
        understand(pl.Series("when", ["lunch", "later"]), "when")
    assert "lunch" not in str(error.value)  # values are never shown
    with pytest.raises(DataError, match="empty"):
        understand(pl.Series("when", ["", "NA", None]), "when")


def test_strange_values_become_null():
    values = [str(epoch(m, 1)) for m in MOMENTS] + ["", "NA", "9" * 30, "-1e300", "1500000000.5", "soon"]
    got, clock = read(values)
    assert clock.unit == "s" or clock.unit == "float s"
    assert got[60:] == [None, None, None, None, datetime(2017, 7, 14, 2, 40, 0, 500_000, tzinfo=UTC), None]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.datetimes(datetime(1986, 1, 1), datetime(2090, 1, 1)), min_size=3, max_size=20))
def test_isoformat_round_trip(moments):
    truth = [m.replace(tzinfo=UTC) for m in moments]
    assert read([m.isoformat() for m in truth])[0] == truth


@settings(max_examples=60, deadline=None)
@given(st.text())
def test_masks_hide_letters_and_digits(text):
    shape = mask(text)
    assert len(shape) <= 25
    assert not any(c.isalnum() and c not in "aA9字" for c in shape)
