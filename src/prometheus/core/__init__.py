"""Configuration, database connections, the embedded server, calendars and logging."""

MINILM = "sentence-transformers/all-MiniLM-L6-v2"
"""The text model unless another is named."""
