# SPDX-License-Identifier: Apache-2.0
"""Configuration: TOML and environment into the frozen dataclasses that their users declare.

Each room declares its own dataclass; the flows name them as sections. Later sources win: defaults,
then the workspace's TOML, then `DESIREPATH_SECTION__KEY`, then what the command line sets.
"""

from __future__ import annotations

import dataclasses
import os
import tomllib
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from desirepath.errors import ConfigError, nearest

PREFIX = "DESIREPATH_"
NOT_SETTINGS = ("_DATA", "_PEER_PYTHON")
"""Ends of environment variables with our prefix that are no configuration keys."""

Sections = Mapping[str, type]
Values = dict[str, dict[str, Any]]


def from_toml(path: Path) -> Values:
    """The sections of a TOML file; an absent file has none.

    Raises:
        ConfigError: it is not TOML, or a key stands outside a section.
    """
    if not path.exists():
        return {}
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} must be TOML: {error}. Mend it, or move it away.") from error
    for section, values in content.items():
        if not isinstance(values, dict):
            raise ConfigError(f"{path}: '{section}' must stand under a [section], such as [training].")
    return content


def from_environment(environment: Mapping[str, str] = os.environ) -> Values:
    """The sections that `DESIREPATH_SECTION__KEY` variables set.

    >>> from_environment({"DESIREPATH_TRAINING__EPOCHS": "3", "HOME": "/"})
    {'training': {'epochs': '3'}}
    """
    values: Values = {}
    for name, text in environment.items():
        section, found, key = name.removeprefix(PREFIX).lower().partition("__")
        if name.startswith(PREFIX) and (found or not name.endswith(NOT_SETTINGS)):
            if not found:
                raise ConfigError(f"{name} must read {PREFIX}SECTION__KEY, with two underscores between.")
            values.setdefault(section, {})[key] = text
    return values


def from_words(words: Iterable[str]) -> Values:
    """The sections that words such as `training.epochs=3` set.

    >>> from_words(["training.epochs=3"])
    {'training': {'epochs': '3'}}
    """
    values: Values = {}
    for word in words:
        name, equals, text = word.partition("=")
        section, dot, key = name.partition(".")
        if not (equals and dot and section and key):
            raise ConfigError(f"A setting must read section.key=value; got '{word}'.")
        values.setdefault(section.strip(), {})[key.strip()] = text.strip()
    return values


def resolve(sections: Sections, *sources: Values) -> dict[str, Any]:
    """One instance of each section's dataclass; later sources win over earlier ones.

    Args:
        sections: section name to the frozen dataclass that holds it.
        sources: sections of values, as the functions above give them.

    Raises:
        ConfigError: an unknown section or key (the nearest known one is named), or a value of the
            wrong type.
    """
    for source in sources:
        for section, values in source.items():
            if section not in sections:
                raise ConfigError(f"There is no section '{section}'. {nearest(section, sections)}")
            known = [f.name for f in dataclasses.fields(sections[section])]
            for key in values:
                if key not in known:
                    raise ConfigError(f"[{section}] has no key '{key}'. {nearest(key, known)}")
    return {
        section: _build(section, kind, [source.get(section, {}) for source in sources])
        for section, kind in sections.items()
    }


def _build(section: str, kind: type, sources: Iterable[Mapping[str, Any]]) -> Any:
    merged: dict[str, Any] = {}
    for source in sources:
        merged.update(source)
    hints = typing.get_type_hints(kind)
    typed = {}
    for key, value in merged.items():
        adapter = TypeAdapter(hints[key])
        try:
            typed[key] = adapter.validate_python(value)
        except ValidationError as error:
            try:
                typed[key] = adapter.validate_python(_as_toml(value))
            except ValidationError:
                reason = error.errors()[0]["msg"]
                raise ConfigError(f"[{section}] {key} = {value!r}: {reason}.") from error
    return kind(**typed)


def _as_toml(value: Any) -> Any:
    """What a text from the environment or command line means as TOML, such as a list; else itself."""
    if not isinstance(value, str):
        return value
    try:
        return tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return value


def to_plain(config: Any) -> dict[str, Any]:
    """A dataclass as plain values that JSON can hold."""
    adapter = TypeAdapter(type(config))
    plain: dict[str, Any] = adapter.dump_python(config, mode="json")
    return plain
