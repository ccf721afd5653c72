"""Runnable examples of spancost."""
