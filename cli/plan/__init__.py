"""``plan``: what would be launched, and where each value of it comes from. Launches nothing."""
