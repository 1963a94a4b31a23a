"""The lock as people keep it: what each pin follows, how old it is, what upstream says, and one resolved anew."""
