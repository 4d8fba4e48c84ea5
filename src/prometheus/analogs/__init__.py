"""Which past dates looked like a date, and what followed them; arrays in, arrays out."""
