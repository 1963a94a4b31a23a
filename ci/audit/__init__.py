"""What a finished file really holds: ELF, device code, wheels, and the rules they must keep."""
