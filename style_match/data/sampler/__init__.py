"""data.sampler"""
