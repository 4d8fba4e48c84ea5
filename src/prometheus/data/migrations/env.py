"""Alembic's entry point of both histories: migrates inside the transaction that `environment.upgrade` opened."""

from alembic import context

from prometheus.data.migrations import version_table

attributes = context.config.attributes
context.configure(
    connection=attributes["connection"],
    version_table=version_table(attributes["database"]),
    transactional_ddl=True,
)
context.run_migrations()
