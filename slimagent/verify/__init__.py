"""Prove it: the checks before and after, compared item by item, and the files that were looked for in vain."""
