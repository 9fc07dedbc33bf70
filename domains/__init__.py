"""Domain packages: each teaches the core to search one kind of network; none imports another."""
