"""What tells the tracer which test is running. These files run in the image's own Python, R and shell (docs/tests.md).

The tracer puts this directory last on PYTHONPATH of the commands that it watches. pytest then finds the plugin by the
entry point in `slimagent_marks-1.dist-info`, as it finds any installed plugin.
"""
