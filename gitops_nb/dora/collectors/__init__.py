"""Collectors: each reads one kind of source into facts, checked before anything is written."""
