"""Test suites: what is run where, how it is judged, and what is remembered of it."""
