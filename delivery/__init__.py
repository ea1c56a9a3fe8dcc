"""Build messages and deliver them: an email and an address go in, an outcome comes out.

Nothing here depends on the database, the settings or Flask.
"""
