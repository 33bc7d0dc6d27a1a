"""What a run writes: tables, curves, pictures, TensorBoard."""
