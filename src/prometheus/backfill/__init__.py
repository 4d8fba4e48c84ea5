"""Backfills of many dates and instruments: pure plans, and the engines that run them."""
