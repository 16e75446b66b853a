"""What turns happenings outside into events."""
