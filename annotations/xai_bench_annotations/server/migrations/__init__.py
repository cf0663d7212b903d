"""Every change of the tables, in order; `database.open_database` applies those that a folder lacks."""
