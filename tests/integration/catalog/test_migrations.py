"""The schema that migrations make is the one that the code expects."""

import structlog
from alembic import command
from sqlalchemy import inspect, text

from service.catalog.revisions import Standing, standing_of
from service.catalog.session import (
    alembic_config,
    durability_problems,
    make_engine,
    upgrade,
    warn_of_forgetful_database,
)


def test_models_and_migrations_agree(engine):
    with engine.begin() as connection:
        command.check(alembic_config(connection))


def test_upgrading_twice_changes_nothing(database_url, engine):
    before = inspect(engine).get_table_names()
    upgrade(database_url)
    assert inspect(engine).get_table_names() == before


def test_the_schema_of_a_later_release_is_left_as_it_is(database_url, engine):
    with engine.begin() as connection:
        assert standing_of(connection)[0] is Standing.NEWEST
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))

    assert upgrade(database_url) == ("9999", "9999")
    with engine.connect() as connection:
        assert standing_of(connection) == (Standing.LATER, "9999")


def test_the_schema_of_an_earlier_release_is_known(engine):
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '0003'"))
        assert standing_of(connection) == (Standing.OLDER, "0003")


def test_downgrading_leaves_an_empty_database_that_can_be_upgraded_again(database_url, engine):
    with engine.begin() as connection:
        command.downgrade(alembic_config(connection), "base")
    assert set(inspect(engine).get_table_names()) <= {"alembic_version"}
    upgrade(database_url)
    assert "videos" in inspect(engine).get_table_names()


def test_a_server_that_may_forget_commits_is_named(engine):
    problems = durability_problems(engine)
    if engine.dialect.name == "postgresql":
        # the tests' server is quick instead of safe
        names = ("fsync", "full_page_writes", "synchronous_commit")
        assert problems == [f"{name} is off" for name in names]
    else:
        assert problems == []


def test_a_server_that_may_forget_commits_is_logged_at_the_start(engine):
    with structlog.testing.capture_logs() as logs:
        warn_of_forgetful_database(engine)
    is_forgetful = engine.dialect.name == "postgresql"
    assert [entry["event"] for entry in logs] == ["database_may_forget_commits"] * is_forgetful


def test_a_missing_data_folder_is_made(tmp_path):
    url = f"sqlite:///{tmp_path / 'new' / 'folder' / 'x.sqlite'}"
    upgrade(url)
    engine = make_engine(url)
    assert "videos" in inspect(engine).get_table_names()
    engine.dispose()
