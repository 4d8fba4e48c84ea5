"""Prices, instruments and their checks: into the databases and out of them."""
