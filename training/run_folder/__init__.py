"""What lies in a run folder: its owner, lock, configuration, checkpoints and results."""
