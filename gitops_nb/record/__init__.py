"""The record of a run: an append-only journal, what follows from it, and how to check it."""
