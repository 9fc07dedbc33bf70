"""Studies of claims: what is to be shown is written down, then searched, trained and tested."""
