"""``hive ui``: runs, states and differences as local web pages, for reading only.

Needs the extra ``hive-checkpoints[ui]``. ``server`` listens, ``guard`` decides who gets an answer,
``pages`` makes the answers; the rest are their parts. Pages are made on the server, work without
scripts, and never ask anything of another machine.
"""
