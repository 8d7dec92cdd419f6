"""Fetches an image from the public internet: every check is ours, and no setting weakens one."""
