"""Alembic's entry point for this history."""

from prometheus.data.migrations.environment import run

run()
