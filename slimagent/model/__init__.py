"""The nouns. Frozen, slotted, keyword-only; no I/O and no JSON.

Paths are `bytes`: absolute, inside the image's root, as the kernel knows them. Sizes are bytes, times nanoseconds.
"""
