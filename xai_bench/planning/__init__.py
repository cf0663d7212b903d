"""What a study would compute, what it costs, what a store holds of it; nothing here computes a cell."""
