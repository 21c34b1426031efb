"""What is in an image, and what could be smaller: components and findings, from its files, layers and a trace. Pure."""
