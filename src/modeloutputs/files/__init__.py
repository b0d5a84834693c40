"""Bytes on disk: checkpoints, weights and saved outputs."""
