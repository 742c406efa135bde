# SPDX-License-Identifier: Apache-2.0
"""Tells from the first lines of a text what kind of file it is, and how its fields are parted.

It reads a sample, never a file, and knows nothing of roles beyond whether a word looks like a header.
"""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass

from desirepath.errors import ConfigError, DataError
from desirepath.events.access_log import CLF
from desirepath.events.names import is_known

DELIMITERS: dict[str, float] = {
    "\t": 1.1,
    "::": 1.3,
    "\x01": 1.2,
    "||": 1.2,
    ",": 1.05,
    ";": 1.04,
    "|": 1.0,
    "^": 0.8,
    " ": 0.6,
}
"""What may part two fields, and how readily it is believed."""

WRITTEN: dict[str, str] = {
    "tab": "\t",
    "space": " ",
    "comma": ",",
    "semicolon": ";",
    "pipe": "|",
    "\\t": "\t",
}
SPOKEN: dict[str, str] = {"\t": "tab", " ": "space", "\x01": "control-A"}
SAMPLE_LINES = 400
NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*")
MOMENT = re.compile(r"\s*\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}([T ].*)?\s*|\s*\d{1,2}:\d{2}(:\d{2})?.*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """How a text file is laid out."""

    kind: str
    """delimited, jsonl, json, access log or sequences."""
    delimiter: str = ","
    """Text between two fields of a delimited file."""
    quoted: bool = True
    """Whether a field may stand in double quotes."""
    header: bool = False
    """Whether a line names the columns."""
    names: tuple[str, ...] = ()
    """Columns in the order of the file; column_1, column_2 ... where it names none."""
    skip_lines: int = 0
    """Physical lines before the first event: comments and header."""
    spaced: bool = False
    """Whether a space follows every delimiter."""
    runs: bool = False
    """Whether several spaces count as one delimiter."""

    @property
    def words(self) -> str:
        """The dialect for a person."""
        if self.kind != "delimited":
            return self.kind
        parted = SPOKEN.get(self.delimiter, f"'{self.delimiter}'")
        quotes = ", quotes are plain text" if not self.quoted else ""
        space = " and space" if self.spaced else ""
        return f"{parted}{space}, {'header' if self.header else 'no header'}{quotes}"


def sniff(
    text: str,
    name: str,
    *,
    delimiter: str | None = None,
    header: bool | None = None,
    headers: Collection[tuple[str, ...]] = (),
) -> Dialect:
    """The dialect of a text by its first whole lines.

    Args:
        text: Whole lines from the start of the file.
        name: What the file is called in messages.
        delimiter: What the caller says parts the fields; None to infer it.
        header: Whether the caller says there is a header; None to infer it.
        headers: Names of columns met in files beside this one.

    Raises: DataError when the text holds nothing or is no log; ConfigError for an unusable delimiter.
    """
    lines = [line.removesuffix("\r") for line in text.split("\n", 4 * SAMPLE_LINES)[: 4 * SAMPLE_LINES]]
    while lines and not lines[-1].strip():
        lines.pop()
    if not lines:
        raise DataError(f"{name} must hold events; it is empty.")
    _refuse_binary(text, name)
    if delimiter is None:
        kind = _other_kind(lines, name)
        if kind:
            return Dialect(kind=kind)
    start = _preamble(lines)
    body = [line for line in lines[start : start + SAMPLE_LINES] if line.strip()]
    if not body:
        raise DataError(f"{name} must hold events; it has only {start} comment lines.")
    if delimiter is not None:
        chosen = WRITTEN.get(delimiter.lower(), delimiter)
        if not chosen or "\n" in chosen or '"' in chosen or len(chosen) > 8:
            raise ConfigError(
                f"delimiter must be 1 to 8 characters without quotes or line ends; got {delimiter!r}."
            )
    else:
        if _is_sequences(body):
            return Dialect(kind="sequences")
        chosen = _delimiter(body, name)
    return _laid_out(lines, start, body, chosen, header, headers)


def _refuse_binary(text: str, name: str) -> None:
    head = text[:65536]
    odd = sum(head.count(chr(c)) for c in range(32) if c not in (1, 9, 10, 12, 13))
    if odd > max(4, 0.03 * len(head)) or "\x00" in head[:1024]:
        raise DataError(
            f"{name} must be text (CSV, JSONL, ...), Parquet or SQLite; {odd:,} of its first {len(head):,} "
            "characters are control codes. Convert it first, or pass --encoding if it is text."
        )


def _other_kind(lines: list[str], name: str) -> str:
    first = next(line for line in lines if line.strip()).strip()
    if first.startswith("{"):
        for line in (line.strip() for line in lines[:20] if line.strip()):
            try:
                if isinstance(json.loads(line), dict):
                    return "jsonl"
            except (ValueError, RecursionError):
                continue
        raise DataError(
            f"{name} must have one JSON object a line; its first object does not end on its line. "
            "Write it as JSON lines (for example: jq -c '.[]')."
        )
    if re.match(r"\[\s*(\{|$)", first):
        return "json"
    sample = [line for line in lines[:200] if line.strip()]
    if sum(bool(CLF.match(line)) for line in sample) > 0.6 * len(sample):
        return "access log"
    return ""


def _preamble(lines: list[str]) -> int:
    """Lines before the table: blank ones, comments, Excel's sep= line."""
    n = 0
    while n < len(lines) and (not lines[n].strip() or re.match(r'#(?!\w+\t)|%%|"?sep=.?"?$', lines[n])):
        n += 1
    return n


def _is_sequences(body: list[str]) -> bool:
    """Whether each line lists whole numbers of no fixed length, as SPMF and leave-one-out files do."""
    rows = [line.split() for line in body if not line.startswith(("@", "#", "%"))]
    tokens = [token for row in rows[:200] for token in row]
    if not tokens or any(re.search(r"[,;\t|]", line) for line in body[:200]):
        return False
    if sum(bool(re.fullmatch(r"-?\d+", token)) for token in tokens) < 0.95 * len(tokens):
        return False
    if all(row[-1] == "-2" for row in rows[:200] if row):
        return True
    return len({len(row) for row in rows}) > 1 and len(rows) > 1


def _rows(body: list[str], delimiter: str, quoted: bool) -> list[list[str]]:
    if len(delimiter) > 1 or not quoted:
        return [line.split(delimiter) for line in body]
    try:
        return [row for row in csv.reader(body_lines(body), delimiter=delimiter) if row]
    except csv.Error:
        return [line.split(delimiter) for line in body]


def body_lines(body: list[str]) -> list[str]:
    """Lines with their ends, as the csv module wants them."""
    return [line + "\n" for line in body]


def _delimiter(body: list[str], name: str) -> str:
    suffix = name.lower()
    best, best_score = "", 0.0
    for candidate, trust in DELIMITERS.items():
        if not any(candidate in line for line in body[:50]):
            continue
        counts = Counter(len(row) for row in _rows(body, candidate, True))
        length, n = max(((k, v) for k, v in counts.items() if k > 1), key=lambda kv: kv[1], default=(1, 0))
        share = n / max(sum(counts.values()), 1)
        score = share * trust * (1 - 0.5 / length)
        if (candidate == "\t" and ".tsv" in suffix) or (candidate == "," and ".csv" in suffix):
            score *= 1.1
        if share >= 0.5 and score > best_score:
            best, best_score = candidate, score
    return best or ","


def _laid_out(
    lines: list[str],
    start: int,
    body: list[str],
    delimiter: str,
    header: bool | None,
    headers: Collection[tuple[str, ...]],
) -> Dialect:
    runs = delimiter == " " and sum("  " in line.strip() for line in body) > 0.5 * len(body)
    if runs:
        body = [re.sub(" +", " ", line.strip(" ")) for line in body]
    quoted = len(delimiter) == 1 and _quotes_pay(body, delimiter)
    spaced = (
        delimiter not in (" ", "\t")
        and len(delimiter) == 1
        and all(
            f"{delimiter} " in line and not re.search(rf"{re.escape(delimiter)}\S", line)
            for line in body[:200]
        )
    )
    if spaced:
        body = [line.replace(delimiter + " ", delimiter) for line in body]
    rows = _rows(body, delimiter, quoted)
    named = has_header(rows, headers) if header is None else header
    width = Counter(len(row) for row in rows[1 if named and len(rows) > 1 else 0 :]).most_common(1)[0][0]
    first = [cell.strip().strip('"') for cell in rows[0]] if named else []
    if named and len(first) == width - 1:
        filled = any(row[-1].strip() for row in rows[1:] if len(row) == width)
        first = ["", *first] if filled else [*first, ""]  # R writes row names without naming them
    names = first if named else [f"column_{i + 1}" for i in range(width)]
    header_lines = 1 if named else 0
    if named and quoted:  # a header with a line end inside quotes spans several lines
        header_lines += sum(cell.count("\n") for cell in rows[0])
    blank = sum(not line.strip() for line in lines[start : start + header_lines])
    return Dialect(
        kind="delimited",
        delimiter=delimiter,
        quoted=quoted,
        header=named,
        names=distinct(names),
        skip_lines=start + header_lines + blank,
        spaced=spaced,
        runs=runs,
    )


def _quotes_pay(body: list[str], delimiter: str) -> bool:
    """Whether reading quotes as quotes gives rows at least as even as reading them as text."""
    if not any('"' in line for line in body):
        return True

    def evenness(quoted: bool) -> float:
        rows = _rows(body, delimiter, quoted)
        most = Counter(len(row) for row in rows).most_common(1)[0]
        swallowed = sum(
            cell.count("\n") for row in rows for cell in row if delimiter in cell and "\n" in cell
        )
        return most[1] / len(rows) - swallowed / len(body)

    return evenness(True) >= evenness(False)


def distinct(names: list[str]) -> tuple[str, ...]:
    """The names without gaps and repetitions; RecBole's ":type" is cut.

    >>> distinct(["user_id:token", "", "a", "a"])
    ('user_id', 'unnamed_2', 'a', 'a_2')
    """
    taken: list[str] = []
    for i, raw in enumerate(names):
        name = re.sub(r":(token|float)(_seq)?$", "", raw.strip().lstrip("#").strip()) or f"unnamed_{i + 1}"
        k, unique = 1, name
        while unique in taken:
            k += 1
            unique = f"{name}_{k}"
        taken.append(unique)
    return tuple(taken)


def has_header(rows: list[list[str]], headers: Collection[tuple[str, ...]] = ()) -> bool:
    """Whether the first row names the columns.

    It does when it equals a neighbour's header, or holds no number or moment and either a known name,
    or text over a column of numbers, or cells of another make than all cells below.
    """
    first = [cell.strip() for cell in rows[0]]
    body = rows[1:]
    if distinct(first) in headers or any(":token" in cell or ":float" in cell for cell in first):
        return True
    inner = [cell for cell in first[1:-1] if not cell]
    if (
        inner
        or not any(first)
        or any(NUMBER.fullmatch(cell) or MOMENT.fullmatch(cell) for cell in first if cell)
    ):
        return False
    filled = [cell for cell in first if cell]
    known = sum(is_known(cell) for cell in filled)
    if len(set(filled)) < len(filled) and known < 2:
        return False
    if not body:
        return known >= min(2, len(filled))
    if known:
        return True
    columns = [[row[i].strip() for row in body if len(row) > i and row[i].strip()] for i in range(len(first))]
    for cell, column in zip(first, columns, strict=True):
        typed = sum(bool(NUMBER.fullmatch(value) or MOMENT.fullmatch(value)) for value in column)
        if column and cell and typed >= 0.9 * len(column):
            return True
    if any(cell in column for cell, column in zip(first, columns, strict=True) if cell):
        return False
    worded = all(re.fullmatch(r"[^\W\d][\w .\-]*", cell) and not re.search(r"\d", cell) for cell in filled)
    digits = any(re.search(r"\d", value) for column in columns for value in column[:50])
    return worded and digits
