"""A gate: rules about the result of a run, read from text (`rules.py`) and held against what is known (`judge.py`)."""
