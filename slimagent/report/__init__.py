"""Show documents to people."""
