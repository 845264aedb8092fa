"""The audit log: who did what, and when, so written that a change of it is found.

Belongs here: the log, its hash chain and its verification. Other rooms: what people can do (commands, web).
"""
