"""What Alembic runs, on the connection that it is given."""

from __future__ import annotations

from alembic import context

from xai_bench_annotations.server.tables import Base


def migrate() -> None:
    """Apply the changes in the transaction that the connection is in."""
    connection = context.config.attributes["connection"]
    context.configure(connection=connection, target_metadata=Base.metadata, render_as_batch=True)
    context.run_migrations()


if __name__ == "env_py":  # the name under which Alembic loads this file
    migrate()
