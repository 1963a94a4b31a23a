"""How fast we are, measured beside what we are compared with, in turn and in one run: ``python -m tests.bench``."""
