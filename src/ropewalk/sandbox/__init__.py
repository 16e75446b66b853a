"""What runs guests: the sandbox described, entered, and the processes that live in it."""
