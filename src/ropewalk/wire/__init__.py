"""What host and guest say to each other: the messages (`messages`) and how they are framed (`frames`)."""
