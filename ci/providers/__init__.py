"""The CI systems we run under: what each wants to see, one subject per file."""
