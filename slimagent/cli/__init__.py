"""The command line: parse, call the pipeline, print. No decisions."""
