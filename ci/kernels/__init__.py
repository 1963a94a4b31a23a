"""HIP sources to code objects: one compile per file and arch, none that was done before."""
