# SPDX-License-Identifier: Apache-2.0
"""From workspaces to a service: open them, make the application, run it until it is told to stop."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from desirepath import config as configuration
from desirepath.errors import ConfigError
from desirepath.flows.console import show_console
from desirepath.flows.items import items_table
from desirepath.flows.people import users_table
from desirepath.sequences.current import open_sequences
from desirepath.serving.keys import KeyRing
from desirepath.serving.options import LOCAL_NAMES, GuardConfig, LimitsConfig, ServeConfig
from desirepath.workspace import Workspace

if TYPE_CHECKING:
    from fastapi import FastAPI

    from desirepath.live.project import Project
    from desirepath.live.upkeep import UpkeepConfig


def serve_configs(folder: Path, **changes: Any) -> tuple[ServeConfig, LimitsConfig]:
    """[serve] and [limits] of the workspace's TOML and environment; `changes` win in [serve]."""
    sections: dict[str, type] = {"serve": ServeConfig, "limits": LimitsConfig}
    sources = [
        {name: values[name] for name in sections if name in values}
        for values in (configuration.from_toml(folder / "desirepath.toml"), configuration.from_environment())
    ]
    resolved = configuration.resolve(sections, *sources, {"serve": changes})
    return resolved["serve"], resolved["limits"]


def upkeep_config(folder: Path) -> UpkeepConfig:
    """[upkeep] of the workspace's TOML and environment."""
    from desirepath.live.upkeep import UpkeepConfig

    sources = [
        {"upkeep": values["upkeep"]}
        for values in (configuration.from_toml(folder / "desirepath.toml"), configuration.from_environment())
        if "upkeep" in values
    ]
    chosen: UpkeepConfig = configuration.resolve({"upkeep": UpkeepConfig}, *sources)["upkeep"]
    return chosen


def open_projects(folders: Sequence[Path], config: ServeConfig) -> dict[str, Project]:
    """The projects that lie in `folders`, by the folder's name; the first is called "default".

    Raises:
        ConfigError: two of them would have one name, or one database.
    """
    from desirepath.live.project import open_project

    names = ["default", *(folder.resolve().name for folder in folders[1:])]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise ConfigError(
            f"Each project needs a name of its own; two are called '{twice[0]}'. Rename a folder."
        )
    if config.database and len(folders) > 1 and "{project}" not in config.database:
        raise ConfigError(
            "Several projects need a database each. Write {project} where its name belongs in the URL, "
            "such as postgresql://host/{project}."
        )
    projects: dict[str, Project] = {}
    for name, folder in zip(names, folders, strict=True):
        workspace = Workspace.open(folder)
        projects[name] = open_project(
            workspace,
            open_sequences(workspace),
            name=name,
            table=items_table(workspace),
            user_table=users_table(workspace),
            url=config.database.replace("{project}", name) or None,
            redis=config.redis,
        )
    return projects


def application(folders: Sequence[Path], config: ServeConfig, limits: LimitsConfig | None = None) -> FastAPI:
    """The application that serves these workspaces.

    Raises:
        ConfigError: it would be open to other machines, and no workspace has a key.
    """
    from desirepath.serving.app import make_app

    is_local = config.is_local
    if not (is_local or any(KeyRing(folder).is_closed for folder in folders)):
        raise ConfigError(
            f"Without a key only this machine may ask; {config.host} would let in others. Make a key first: "
            f"`desirepath keys create {folders[0]} --scope admin`."
        )
    if "*" in config.cors_origins and not any(KeyRing(folder).is_closed for folder in folders):
        raise ConfigError("cors_origins = ['*'] needs a key: without one, any page could read everything.")
    _limit_threads(config.threads)
    projects = open_projects(folders, config)
    for project in projects.values():
        _warm_up(project)
        _look_after(project)
    guards = GuardConfig(
        limits=limits or LimitsConfig(),
        hosts=LOCAL_NAMES | {config.host} if is_local else frozenset(),
        cors_origins=config.cors_origins,
        writes_log=config.log != "none",
        redis=config.redis,
    )
    app = make_app(projects, guards)
    show_console(app, projects)
    return app


def _warm_up(project: Project) -> None:
    """Answer once, alone and in company, so that nobody waits for kernels to be compiled."""
    from desirepath.live.answer import Ask
    from desirepath.live.states import compile_kernels

    compile_kernels()
    some = tuple(project.catalogue.ids[2:6])
    project.engine.answers([Ask(history=some)])
    project.engine.answers([Ask(history=some[:n]) for n in range(len(some) + 1)])


def _look_after(project: Project) -> None:
    """Let the project keep itself going: new models, shadows, trainings."""
    from desirepath.flows.retraining import retrain_config
    from desirepath.live.retrainer import Retrainer, command_for
    from desirepath.live.rollout import Rollout
    from desirepath.live.upkeep import Upkeep
    from desirepath.recommend.registry import Registry

    folder = project.workspace.folder
    config = retrain_config(folder)
    retrainer = Retrainer(command_for(folder, config), project.workspace.run("retrain.log"), config)
    rollout = Rollout(
        Registry(project.workspace),
        project,
        config,
        retrainer,
        new_events=project.events_since_training(),
        in_use=project.versions_in_use,
        compact=project.repack,
    )
    project.begin_rollout(rollout)
    project.upkeep = Upkeep(project, upkeep_config(folder))


def serve(
    folders: Sequence[Path],
    config: ServeConfig,
    limits: LimitsConfig | None = None,
    *,
    announce: Callable[[str], None] = lambda _: None,
) -> None:
    """Serve until a signal says stop; what was begun is finished first.

    Args:
        folders: the workspaces.
        config: where and how.
        limits: what requests may take.
        announce: is given the address once requests are answered there.

    Raises:
        ConfigError: the address is taken, or open to other machines without a key.
    """
    from desirepath.serving.logs import configure_logs
    from desirepath.serving.running import run

    limits = limits or LimitsConfig()
    as_json = config.log == "json" or (config.log == "auto" and not sys.stderr.isatty())
    configure_logs(sys.stderr, as_json=as_json)
    app = application(folders, config, limits)
    # What was opened stays; a full collection that went through it all would hold every answer up for 0.3 s.
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 100)
    # An answer passes from thread to thread; each passing may wait for another thread's turn to end.
    sys.setswitchinterval(0.0005)
    run(app, config, limits, announce)


def _limit_threads(n: int) -> None:
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    threadpool_limits(limits=n)
    try:
        import torch
    except ModuleNotFoundError:
        return
    torch.set_num_threads(n)
