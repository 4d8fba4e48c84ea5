"""Connections, binary COPY, locks: how the rest of `prometheus.data` talks to PostgreSQL."""
