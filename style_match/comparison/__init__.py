"""Which differences are real: intervals and tests over seeds, splits and worlds, common galleries, groups and hubs.

Shape suffixes: S seeds, Q queries, C clusters of queries, M metrics, J repeated splits or worlds, G gallery.
"""
