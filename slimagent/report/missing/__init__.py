"""From an error of a program to what was removed, whose it was, and what brings it back. Pure."""
