"""What lies where in the directory of an agent: a bundle, or what `make agent` makes."""

BUNDLE, AGENT = "bundle.json", "agent.json"  # the record of a bundle, and that of what `make agent` makes
CONTENTS = "contents"  # the key in either, of the list of all that the agent has
LIBRARIES, PYTHON, INTERPRETER, STRIP = "lib", "python", "python/bin/python3", "bin/strip"
START, ENTRYPOINT = "start.py", "entrypoint.sh"
# Dependencies that an agent does without: commands that run outside of containers import them, and no others do.
OUTSIDE_ONLY = frozenset({"jinja2", "watchdog"})
# Modules that no agent can import: they need the extra `sbom`, and read only documents.
OUTSIDE_MODULES = "slimagent.report.sbom."
