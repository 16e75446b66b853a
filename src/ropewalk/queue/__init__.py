"""What becomes of events: pure functions of values, asked by `dispatch` and applied by `storage`."""
