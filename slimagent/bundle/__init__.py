"""A portable agent: what of this machine goes into it, its layout, and what it must be able to do."""
