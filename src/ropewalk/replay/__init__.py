"""Running a recorded attempt again, answered from its record, with no effect on anything."""
