"""Whole machines under emulation: an arm64 Debian, and kernels other than the one at hand. Run every night."""
