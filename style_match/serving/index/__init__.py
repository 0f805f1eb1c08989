"""serving.index"""
