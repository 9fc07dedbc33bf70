"""What each command of ``nichenas`` does, without the parsing of its arguments."""
