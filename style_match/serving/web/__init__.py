"""serving.web"""
