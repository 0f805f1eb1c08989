"""The exported matcher, recommendations, text search, indexes and the web page."""
