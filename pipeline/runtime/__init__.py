"""What a command needs around the work: typed configuration, progress bars, a Ray session."""
