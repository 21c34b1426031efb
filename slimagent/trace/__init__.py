"""Watch processes: which files they ask for, found or not, and what could not be seen."""
