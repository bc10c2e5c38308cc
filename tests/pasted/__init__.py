"""Rows of rooms: Python that is refused with an error that names a call. See paste.py."""
