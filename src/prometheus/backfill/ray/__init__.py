"""Backfills on a Ray cluster."""
