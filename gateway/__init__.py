"""The program: configuration, command line, supervisor, wiring of the doors to the bus, and the admin
role."""
