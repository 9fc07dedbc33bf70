"""Configurations that are shipped with the package: `<domain>/<data set>.yaml`."""
