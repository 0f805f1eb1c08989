"""The web page of `style_match.app`: what it shows (catalogue), how it is served, and its static files."""
