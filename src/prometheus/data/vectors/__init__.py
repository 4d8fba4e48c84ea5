"""Stored vectors of windows, texts and joint spaces."""
