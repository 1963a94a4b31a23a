"""``inv doctor``: whether this host can do the work, and what to do where it cannot."""
