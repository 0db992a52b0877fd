"""The commands: each wires the layers below to a command line."""
