"""Decide what may go, and why: evidence, inventory and rules in; a verdict and reason for every path out."""
