"""A pipeline in each CI's own words: pure text, the same bytes for the same pipeline."""
