"""Releases: staged under names that stay, proven by reading back, and only then pointed at."""
