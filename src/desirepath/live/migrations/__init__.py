# SPDX-License-Identifier: Apache-2.0
"""Brings the tables of a live store to this version, step by step, within the caller's transaction.

A change of `tables.py` needs a further file in `versions/`, and its name as `HEAD`; tests see that the two
agree. Run under the lock of a writing transaction, so that of several processes one does the work.
"""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, inspect, select, table
from sqlalchemy import column as named

from desirepath.errors import WorkspaceError

VERSIONS = Path(__file__).parent / "versions"
FIRST, HEAD = "first", "erased_users"
_version = table("alembic_version", named("version_num"))


def upgrade(connection: Connection, to: str = HEAD) -> None:
    """Bring the database to a revision; one that is there already costs a query.

    Raises:
        WorkspaceError: a newer version of Desirepath wrote the database.
    """
    now = revision(connection)
    if now == to:
        return
    # Here rather than above: it takes a third of a second to load, and a store is seldom new.
    from alembic.config import Config
    from alembic.runtime.environment import EnvironmentContext
    from alembic.script import ScriptDirectory

    scripts = ScriptDirectory(str(VERSIONS.parent), version_locations=[str(VERSIONS)])
    known = {script.revision for script in scripts.walk_revisions()}
    if now is not None and now not in known:
        raise WorkspaceError(
            f"The live store must be of revision {HEAD} or older; it has '{now}', which a newer version of "
            "Desirepath wrote. Upgrade desirepath to open it."
        )
    unmarked = now is None and inspect(connection).has_table("events")  # made before revisions were kept

    def steps(rev: object, context: object) -> object:
        return scripts._upgrade_revs(to, FIRST if unmarked else rev)  # type: ignore[arg-type]

    with EnvironmentContext(Config(), scripts, fn=steps, destination_rev=to) as environment:
        environment.configure(connection=connection, transactional_ddl=True)
        if unmarked:
            environment.get_context().stamp(scripts, FIRST)
        environment.run_migrations()


def revision(connection: Connection) -> str | None:
    """The revision that the tables have; None for an empty database, or one made before revisions."""
    if not inspect(connection).has_table(_version.name):
        return None
    found = connection.execute(select(_version.c.version_num)).scalar()
    return None if found is None else str(found)
