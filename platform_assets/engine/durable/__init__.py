"""What survives a kill: writes that are whole or not there, and the points where tests kill.

Belongs here: durability that several rooms need alike. Other rooms: what is written.
"""
