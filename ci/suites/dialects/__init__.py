"""Step files in the dialects of other projects, read as a document in our own form."""
