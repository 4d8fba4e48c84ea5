"""Windows of bars, and the encoders that make vectors of them."""
