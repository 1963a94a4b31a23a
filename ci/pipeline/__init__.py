"""From a stack's catalogue and a diff to the jobs of a CI: which steps run, why, where, and after what."""
