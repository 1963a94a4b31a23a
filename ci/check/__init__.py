"""What is wrong with a stack and its files, all at once, before anything is built; offline, and nothing is written."""
