"""Who is recommended to whom: by likeness, by both sides' ranks, with a bound on how often."""
