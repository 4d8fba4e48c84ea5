"""Alembic's entry point for this history."""

from prometheus.core.migrations.environment import run

run()
