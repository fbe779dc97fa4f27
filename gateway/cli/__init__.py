"""`tandem`, the command line. Each command is one file in `gateway.cli.commands`."""
