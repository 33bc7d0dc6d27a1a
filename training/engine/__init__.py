"""How a run computes: devices, precision, XLA, the training step, callbacks."""
