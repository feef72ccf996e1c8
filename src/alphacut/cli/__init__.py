"""The command line: a file for each group of commands, and what they share.

`options` has the flags that several commands take, `terminal` messages, progress bars and tables.
"""
