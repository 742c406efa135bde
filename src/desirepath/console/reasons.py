# SPDX-License-Identifier: Apache-2.0
"""Why an item stands where it stands, in one short line, from what the answer itself says.

The longer sentence with its evidence is made on request; see `recommend.sentences`.
"""

from __future__ import annotations

from desirepath.console.taste import Foresight, Taste
from desirepath.console.words import Words
from desirepath.live.answer import Shown
from desirepath.live.insight import Why


def because(shown: Shown, words: Words) -> str:
    """What brought an item to its place; reasons of a kind without words show under their own name."""
    told = []
    for reason in shown.reasons:
        kind = str(reason.get("kind", ""))
        if kind == "source":
            source = str(reason.get("source", ""))
            if source == "model" and len(shown.reasons) > 1:
                continue
            told.append(words.get(f"source.{source}", words("source.other", name=source)))
        elif text := reason.get("text"):
            told.append(str(text))
        elif kind:
            told.append(words.get(f"reason.{kind}", kind))
    return " · ".join(told)


def retold(why: Why, taste: Taste, language: str) -> str:
    """The sentence of an explanation, with titles in the visitor's language where there are such."""
    sentence = why.sentence
    for row in why.events:
        if row["title"] and row["title"] in sentence:
            sentence = sentence.replace(row["title"], taste.title(row["item_id"], language))
    return sentence


def told_when(foresight: Foresight, words: Words) -> str:
    """When the next event is expected, in one line."""
    told = words("trial.when", when=span(foresight.median_s or 0.0, words))
    if foresight.low_s is not None and foresight.high_s is not None:
        told += words("trial.when_span", low=span(foresight.low_s, words), high=span(foresight.high_s, words))
    return told


def span(seconds: float, words: Words) -> str:
    """A length of time in one unit."""
    for unit, size in (("days", 86_400.0), ("hours", 3600.0), ("minutes", 60.0)):
        if seconds >= 1.5 * size:
            return words(f"span.{unit}", n=f"{seconds / size:.0f}")
    return words("span.seconds", n=f"{seconds:.0f}")
