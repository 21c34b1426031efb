"""One self-contained HTML page of a report, with a picture of the image."""
