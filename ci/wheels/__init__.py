"""Wheels: their version, how they are packed, the bundle that travels between jobs, and the package index."""
