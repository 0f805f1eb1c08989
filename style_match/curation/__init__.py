"""Dataset folders: preparing them, and removing a person."""
