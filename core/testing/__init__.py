"""Contract suites of domains, their capabilities, strategies, schedulers and methods, for this repository and others.

A test class subclasses those that it needs; toy domains to test other parts with are here too.
"""
