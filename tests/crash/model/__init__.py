"""What must hold of an episode, each module a part of it; `checks` asks them all."""
