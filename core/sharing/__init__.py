"""Weight sharing between candidates."""
