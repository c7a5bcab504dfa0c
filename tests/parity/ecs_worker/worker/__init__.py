"""What the worker calls, by the rules that the recordings show.

Needed where it stopped early and the product goes on, or where a rule mends what it was given:
then its own recorded call is missing. ``test_worker.py`` checks it against every recorded call.
"""
