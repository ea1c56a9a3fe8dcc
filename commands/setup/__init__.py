"""`flask setup`: connect the service to a mail server, by answering questions."""
