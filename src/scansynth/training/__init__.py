"""The parts of the training loop: batches, the step, processes that share it, its state, and when it stops."""
