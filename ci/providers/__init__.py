"""The CI systems we run under: what each tells and wants to see, one file per CI, and whom a policy trusts."""
