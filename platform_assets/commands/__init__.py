"""What a verb does as a whole: run, replay, ci, a feed from a file, what is promised.

Belongs here: putting rooms together for one purpose. Other rooms: options, and how an answer looks (cli).
"""
