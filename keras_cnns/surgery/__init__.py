"""Graph surgery: functions from a model to an edited copy. The original model never changes."""
