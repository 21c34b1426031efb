"""What is in the image: its paths, what its programs ask the loader for, and a fingerprint to know it by."""
