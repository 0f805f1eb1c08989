"""models.loss"""
