"""The archive: what was delivered, as it came. Copies by content, and the journal of them.

Belongs here: keeping copies, finding them again. Other rooms: what is inside a copy (readers), receipts (store).
"""
