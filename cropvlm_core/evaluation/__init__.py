"""Evaluation: how well a cropper points, measured on question sets, always beside controls."""
