"""Alerts on their way out: channels, the rules that choose them, and the file of both; no database is known here."""
