"""Lists of recipients: their names, their members, and when members left."""
