"""A day of a large agent, in virtual time: its own functions against the documented limits."""
