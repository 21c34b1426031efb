"""Drive a container engine from outside: image in, slim image out."""
