"""What may go, and why: evidence, an inventory and rules in; a verdict with a reason for every path out."""
