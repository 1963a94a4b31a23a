"""Artifact-only mode: ship the files that make a tier out of its parents, and make its image from them elsewhere."""
