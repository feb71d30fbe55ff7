"""The demo: a document survey that is killed in the middle and resumes (``hive demo``)."""
