"""Build, test and ship ROCm images: one task runner from a commit to a released image.

The package has two names, ``ci`` in the checkout and ``rocm_ci`` once installed,
so everything inside it imports relatively.
"""

VERSION = "0.1.0"
"""What pyproject.toml says, for what this tool writes down about itself."""
