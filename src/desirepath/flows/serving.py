# SPDX-License-Identifier: Apache-2.0
"""From workspaces to a service: open them, make the application, run it until it is told to stop."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from desirepath.errors import ConfigError
from desirepath.flows.console import show_console
from desirepath.flows.ingestion import open_sequences
from desirepath.flows.items import items_table
from desirepath.flows.people import users_table
from desirepath.workspace import Workspace

if TYPE_CHECKING:
    from fastapi import FastAPI

    from desirepath.live.project import Project


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeConfig:
    """Where and how a workspace is served."""

    host: str = "127.0.0.1"
    """Address to bind; another than this machine's own needs a key."""
    port: int = 8088
    """TCP port, 0 for any free one."""
    database: str = ""
    """URL of the live store; empty: SQLite in the workspace."""
    threads: int = 1
    """Threads that one product of a model takes; more are quicker alone and slower under load."""

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65_535:
            raise ConfigError(f"port must be from 0 to 65535; got {self.port}.")
        if self.threads < 1:
            raise ConfigError(f"threads must be at least 1; got {self.threads}.")


def open_projects(folders: Sequence[Path], config: ServeConfig) -> dict[str, Project]:
    """The projects that lie in `folders`; the first is also called "default"."""
    from desirepath.live.project import open_project

    projects: dict[str, Project] = {}
    for folder in folders:
        workspace = Workspace.open(folder)
        name = "default" if not projects else folder.name
        projects[name] = open_project(
            workspace,
            open_sequences(workspace),
            name=name,
            table=items_table(workspace),
            user_table=users_table(workspace),
            url=config.database or None,
        )
    return projects


def application(folders: Sequence[Path], config: ServeConfig) -> FastAPI:
    """The application that serves these workspaces."""
    from desirepath.serving.app import make_app

    _limit_threads(config.threads)
    projects = open_projects(folders, config)
    for project in projects.values():
        _look_after(project)
    app = make_app(projects)
    show_console(app, projects)
    return app


def _look_after(project: Project) -> None:
    """Let the project keep itself going: new models, shadows, trainings."""
    from desirepath.flows.retraining import retrain_config
    from desirepath.live.retrainer import Retrainer, command_for
    from desirepath.live.rollout import Rollout
    from desirepath.recommend.registry import Registry

    folder = project.workspace.folder
    config = retrain_config(folder)
    retrainer = Retrainer(command_for(folder, config), project.workspace.run("retrain.log"), config)
    rollout = Rollout(
        Registry(project.workspace),
        project,
        config,
        retrainer,
        new_events=project.states.n_live,
        in_use=project.versions_in_use,
    )
    project.begin_rollout(rollout)


def serve(folders: Sequence[Path], config: ServeConfig) -> None:
    """Serve until a signal says stop; what was begun is finished first."""
    import uvicorn

    app = application(folders, config)
    options: dict[str, Any] = {"host": config.host, "port": config.port, "timeout_graceful_shutdown": 30}
    uvicorn.run(app, log_config=None, access_log=False, **options)


def _limit_threads(n: int) -> None:
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    threadpool_limits(limits=n)
    try:
        import torch
    except ModuleNotFoundError:
        return
    torch.set_num_threads(n)
