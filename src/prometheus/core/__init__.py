"""Configuration, database connections, the embedded server, calendars and logging."""
