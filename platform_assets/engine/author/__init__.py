"""Authoring: from files to a feed. Types inferred, a feed proposed, drafted as Python and tried; headers, drift.

Belongs here: helping a person to declare a feed. Other rooms: declarations themselves (feed, contract).
"""
