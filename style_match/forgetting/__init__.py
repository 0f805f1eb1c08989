"""What `style_match.forget` removes, and where it looks."""
