"""From an email to the bytes of its messages: MIME, headers, plain text, unsubscribe links."""
