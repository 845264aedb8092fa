"""Sources: where deliveries come from. Files in the landing folder are the first.

Belongs here: finding arrivals and taking hold of them. Other rooms: their copies (archive), their bytes (readers).
"""
