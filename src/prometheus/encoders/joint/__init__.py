"""Joint spaces: the numeric and the text vector of a date in one."""
