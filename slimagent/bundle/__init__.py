"""A portable agent: what of this machine goes into it, how it is laid out, and what it has to be able to do."""
