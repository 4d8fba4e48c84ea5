"""Markets as arrays: bars, calendars, what followed a date; pure but for the calendars of exchanges."""
