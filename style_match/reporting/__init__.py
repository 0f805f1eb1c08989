"""Tables of a sweep with intervals, tests and verdicts."""
