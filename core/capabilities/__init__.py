"""What a domain may offer beside the seven members that every domain has: classes to mix in, one a file.

A search method names those that it needs; a contract suite of each stands in :mod:`nichenas.core.testing`.
"""
