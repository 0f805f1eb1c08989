"""Features of the frozen backbone: what names them, where they are kept, how they are computed."""
