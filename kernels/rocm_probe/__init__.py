"""Runs small HIP kernels on the GPUs present and checks their numbers against NumPy."""
