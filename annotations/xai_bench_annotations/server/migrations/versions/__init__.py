"""One file a change. A new one: `command.revision(alembic_config(connection), "what", autogenerate=True)`."""
