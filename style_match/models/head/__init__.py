"""models.head"""
