"""slimagent: small container images that still work, explained and proved."""

__version__ = "0.1.0"
