"""What a person sees: progress on a terminal, lines in CI, the summary at the end."""
