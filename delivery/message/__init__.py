"""Build the bytes of a message from an email: MIME, header fields, plain text, unsubscribe links."""
