"""GPU code in ELF files: what there is, what a GPU would choose of it, and the file without the rest. Pure."""
