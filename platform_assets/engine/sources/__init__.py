"""Sources: where deliveries come from, each kind a class. Files in the landing folder are the first.

Belongs here: what waits at a source, and putting it into the archive. Other rooms: copies (archive), bytes (readers).
"""
