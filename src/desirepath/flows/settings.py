# SPDX-License-Identifier: Apache-2.0
"""All settings of a workspace: which section of the TOML is which dataclass.

Later sources win: defaults, the workspace's TOML, what earlier commands set with --set, the environment,
the command line.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from desirepath import config
from desirepath.errors import ConfigError
from desirepath.evaluation.judge import EvaluationConfig
from desirepath.events.cleaning import CleaningConfig
from desirepath.models import BASELINES
from desirepath.profiles import ClassConfig, SegmentConfig, VectorConfig
from desirepath.recommend.ranking import seen_share
from desirepath.sequences import Queries, Sequences
from desirepath.sequences.splits import Split, split_leave_one_out, split_temporal
from desirepath.workspace import Workspace

SERVED = frozenset({"serve", "limits", "scenario", "experiment", "retrain", "upkeep", "gorse"})
"""Sections of the same TOML that are read where a workspace is served."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitConfig:
    """How a log is cut into training, validation and test."""

    protocol: Literal["auto", "temporal", "leave_one_out"] = "auto"
    """"temporal" cuts all users at one moment; "auto" takes it wherever the log has true times."""
    quantile: float = 0.9
    """Share of the events before the cut, in (0, 1)."""
    targets: Literal["successive", "last", "days"] = "successive"
    """What the test asks for; see sequences.splits.split_temporal."""
    days: float = 7.0
    """Length of the window for targets = "days"."""
    validation: Literal["auto", "users", "time", "last"] = "auto"
    """"users" holds users out; "auto" takes it from 200 users on, and "last" below."""
    seed: int = 0
    """Draws the users held out."""

    def cut(self, sequences: Sequences, *, has_time: bool) -> Split:
        """The split that these options mean for a log.

        Raises:
            TooLittleData: the log cannot be split so.
        """
        protocol = self.protocol
        if protocol == "auto":
            protocol = "temporal" if has_time else "leave_one_out"
        if protocol == "leave_one_out":
            return split_leave_one_out(sequences)
        validation = self.validation
        if validation == "auto":
            validation = "users" if sequences.n_users >= 200 else "last"
        return split_temporal(
            sequences,
            quantile=self.quantile,
            targets=self.targets,
            days=self.days,
            validation=validation,
            seed=self.seed,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RecommendConfig:
    """What is recommended, and by which models."""

    k: int = 10
    """Length of the lists, at least 1."""
    exclude_seen: Literal["auto", "yes", "no"] = "auto"
    """Whether items of the user's own history stay out of lists, in evaluation as in serving; "auto" leaves
    them out where fewer than 1 in 20 of the validation targets are returns to known items."""
    baselines: tuple[str, ...] = tuple(BASELINES)
    """Names of the baselines that are compared; see docs/models.md."""
    transformer: bool = True
    """Whether a transformer is trained beside the baselines."""
    max_test_users: int = 20_000
    """Users drawn for the test and for validation where there are more; 0 takes all."""

    def __post_init__(self) -> None:
        if self.k < 1:
            raise ConfigError(f"k must be at least 1; got {self.k}.")
        unknown = [name for name in self.baselines if name not in BASELINES]
        if unknown:
            raise ConfigError(f"There is no baseline '{unknown[0]}'. Known: {', '.join(BASELINES)}.")


@dataclass(frozen=True, slots=True, kw_only=True)
class BehaviourConfig:
    """What `run` mines for the report, and what segments are made of."""

    enabled: bool = True
    """Whether `run` mines at all."""
    by: tuple[str, ...] = ()
    """What an event on a path is called; empty: its action where there are several, else its kind of item."""
    goal: str = ""
    """The action that funnels end in and groups are told apart by; empty: one that sounds like a purchase,
    else the rarest that 1 in 20 users did."""
    steps: tuple[str, ...] = ()
    """Steps of the funnel; empty: a look, a sign of wanting, the goal, as far as the log has them."""
    n_patterns: int = 200
    """Most frequent sequences of items that are kept, 1 or more."""
    max_seconds: float = 20.0
    """Time for each search, above 0; a search that ends early says so."""
    segments_by: tuple[Literal["patterns", "embeddings"], ...] = ()
    """What describes users beside features and interests: "patterns" they hold, a model's "embeddings"."""

    def __post_init__(self) -> None:
        if self.n_patterns < 1:
            raise ConfigError(f"n_patterns must be at least 1; got {self.n_patterns}.")
        if not self.max_seconds > 0:
            raise ConfigError(f"max_seconds must be above 0; got {self.max_seconds}.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Every section, resolved; `model` and `training` are None where torch is not installed."""

    cleaning: CleaningConfig
    split: SplitConfig
    evaluation: EvaluationConfig
    recommend: RecommendConfig
    behaviour: BehaviourConfig
    classes: ClassConfig
    vectors: VectorConfig
    segments: SegmentConfig
    model: Any = None
    training: Any = None

    def excludes_seen(self, validation: Queries) -> bool:
        """Whether lists leave out what the user has had, by the setting or by what validation shows."""
        if self.recommend.exclude_seen == "auto":
            return seen_share(validation) < 0.05
        return self.recommend.exclude_seen == "yes"

    def plain(self, *sections: str) -> dict[str, Any]:
        """The named sections as values that JSON can hold, for fingerprints and the run's record."""
        return {name: config.to_plain(getattr(self, name)) for name in sections if getattr(self, name)}


def sections() -> dict[str, type]:
    """Section name to dataclass, for this installation."""
    known: dict[str, type] = {
        "cleaning": CleaningConfig,
        "split": SplitConfig,
        "evaluation": EvaluationConfig,
        "recommend": RecommendConfig,
        "behaviour": BehaviourConfig,
        "classes": ClassConfig,
        "vectors": VectorConfig,
        "segments": SegmentConfig,
    }
    if find_spec("torch") is not None:
        from desirepath.models.sasrec import SASRecConfig
        from desirepath.training import TrainConfig

        known |= {"model": SASRecConfig, "training": TrainConfig}
    return known


def load_settings(folder: Path, words: Sequence[str] = ()) -> Settings:
    """The settings of the workspace in `folder`, which need not exist yet.

    Args:
        folder: where `desirepath.toml` lies, if there is one, and what earlier commands set.
        words: `section.key=value`, as the command line takes them.
    """
    resolved = config.resolve(
        sections(),
        _without_served(config.from_toml(folder / "desirepath.toml")),
        config.from_words(_remembered(folder)),
        _without_served(config.from_environment()),
        config.from_words(words),
    )
    if resolved["evaluation"].mask_seen and resolved["recommend"].exclude_seen != "yes":
        raise ConfigError('[evaluation] mask_seen follows [recommend] exclude_seen here; set that to "yes".')
    return Settings(**resolved)


def _without_served(values: config.Values) -> config.Values:
    return {section: keys for section, keys in values.items() if section not in SERVED}


def remember(workspace: Workspace, words: Sequence[str]) -> None:
    """Keep what a command set, so that the next command on this workspace means the same."""
    latest = dict(word.split("=", 1) for word in [*_remembered(workspace.folder), *words])
    workspace.finish("settings", "", words=[f"{name}={text}" for name, text in latest.items()])


def _remembered(folder: Path) -> list[str]:
    done = Workspace(folder).step("settings") or {}
    return list(done.get("words", []))
