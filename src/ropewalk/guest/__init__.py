"""What runs inside the sandbox: the zygotes, and the attempts that they fork."""
