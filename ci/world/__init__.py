"""The only rooms with doors to the outside: processes, sockets, the engine, files, the clock."""
