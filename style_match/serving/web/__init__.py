"""The web page of `style_match.app`."""
