# SPDX-License-Identifier: Apache-2.0
from concurrent.futures import ThreadPoolExecutor

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, insert, inspect, make_url, select, text
from stored import row

from desirepath.errors import WorkspaceError
from desirepath.live import migrations
from desirepath.live.database import open_database, writing
from desirepath.live.store import LiveStore
from desirepath.live.tables import events, impressions, marks, metadata, users


def plain(url):
    """The database without anything that the store does to it."""
    parsed = make_url(url)
    return create_engine(
        parsed if parsed.drivername == "sqlite" else parsed.set(drivername="postgresql+psycopg")
    )


@pytest.fixture
def old(url):
    """The URL of a database of the first revision, with rows."""
    engine = plain(url)
    lists = [("b", 20, "v"), ("a", 10, None), ("c", 30, "u")]
    with engine.begin() as connection:
        migrations.upgrade(connection, migrations.FIRST)
        connection.execute(insert(events), [row("e", more={"query": "tea"}), row("f", "v")])
        connection.execute(
            insert(users), [{"user_id": "u", "attributes": {"age": 7}, "is_deleted": False, "updated_us": 1}]
        )
        for name, moment, user in lists:
            connection.execute(
                text(
                    "INSERT INTO recommendations (recommendation_id, time_us, user_id, scenario,"
                    " model_version, slate)"
                    " VALUES (:name, :moment, :user, 'default', 'm1', '[[\"x\", 1.0, 0.5]]')"
                ),
                {"name": name, "moment": moment, "user": user},
            )
    engine.dispose()
    return url


def test_tables_and_revisions_agree(url):
    engine = open_database(url)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
        assert migrations.revision(connection) == migrations.HEAD
    engine.dispose()


def test_the_names_of_first_and_last_are_right():
    scripts = ScriptDirectory(str(migrations.VERSIONS.parent), version_locations=[str(migrations.VERSIONS)])
    assert scripts.get_heads() == [migrations.HEAD]
    assert scripts.get_bases() == [migrations.FIRST]


def test_an_upgrade_keeps_every_row(old):
    store = LiveStore(old)
    found = store.events_after(0)
    assert [(kept["seq"], kept["event_id"], kept["more"]) for kept in found] == [
        (1, "e", {"query": "tea"}),
        (2, "f", None),
    ]
    lists = store.read(lambda connection: connection.execute(select(impressions)).mappings().all())
    assert [(one["seq"], one["recommendation_id"], one["user_id"], one["slate"]) for one in lists] == [
        (1, "a", None, [["x", 1.0, 0.5]]),
        (2, "b", "v", [["x", 1.0, 0.5]]),
        (3, "c", "u", [["x", 1.0, 0.5]]),
    ]
    assert store.read(lambda c: c.execute(select(users.c.attributes)).scalar()) == {"age": 7}
    assert store.keep([row("e"), row("g")]).result().known == ["e"]
    assert len(store.store_id) == 32
    name = store.store_id
    store.close()
    again = LiveStore(old)
    assert again.store_id == name
    again.close()


def test_a_database_made_before_revisions_is_brought_up(old):
    engine = plain(old)
    with engine.begin() as connection:
        connection.execute(text("DROP TABLE alembic_version"))
    engine.dispose()
    store = LiveStore(old)
    assert [kept["event_id"] for kept in store.events_after(0)] == ["e", "f"]
    assert store.read(migrations.revision) == migrations.HEAD
    store.close()


def test_a_newer_database_is_refused_and_left_as_it_is(url):
    engine = open_database(url)
    with writing(engine).begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = 'of_tomorrow'"))
    with pytest.raises(WorkspaceError, match=r"'of_tomorrow', which a newer version.*Upgrade desirepath"):
        LiveStore(url)
    with engine.connect() as connection:
        assert migrations.revision(connection) == "of_tomorrow"
    engine.dispose()


def test_an_upgrade_that_fails_leaves_the_old_database(old, monkeypatch):
    """Everything is one transaction, so that a cut in the middle changes nothing."""
    import alembic.op

    def cut(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(alembic.op, "rename_table", cut)
    with pytest.raises(KeyboardInterrupt):
        LiveStore(old)
    monkeypatch.undo()
    engine = plain(old)
    with engine.connect() as connection:
        assert migrations.revision(connection) == migrations.FIRST
        assert "recommendations_numbered" not in inspect(connection).get_table_names()
    engine.dispose()
    LiveStore(old).close()


def test_several_that_open_at_once_agree(url):
    """One of them brings the tables up while the others wait."""
    with ThreadPoolExecutor(6) as pool:
        stores = list(pool.map(lambda _: LiveStore(url), range(6)))
    assert len({store.store_id for store in stores}) == 1
    names = stores[0].read(lambda c: c.execute(select(marks.c.name)).scalars().all())
    assert sorted(names) == ["erasure_key", "store_id"]
    for store in stores:
        store.close()
