"""Authoring: from files to a feed. Inferring, proposing, drafting, comparing headers, rehearsing.

Belongs here: helping a person to declare a feed. Other rooms: declarations themselves (feed, contract).
"""
