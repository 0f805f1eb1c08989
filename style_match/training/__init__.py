"""The training loop, run folder, callbacks, loggers and outputs."""
