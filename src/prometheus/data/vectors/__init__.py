"""The tables of vectors: numeric, text and joint ones, and the search among them."""
