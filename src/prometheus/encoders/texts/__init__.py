"""Texts, and the encoders that make vectors of them."""
