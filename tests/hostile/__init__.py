"""Corrupt, odd and hostile files by seed, for the tests and for scripts/hostile_images.py."""
