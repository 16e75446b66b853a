"""What authors of twists import: the bases, the tools, the records, and how values become JSON and come back.

Nothing here does I/O. Each call becomes a message of `wire`, which the `Host` of the running attempt carries out.
"""
