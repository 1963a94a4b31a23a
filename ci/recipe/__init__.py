"""What a stack says: its file, its arguments, its Dockerfiles, the trees they read."""
