"""Contract suites that every domain and every strategy must pass, inside this repository or outside."""
