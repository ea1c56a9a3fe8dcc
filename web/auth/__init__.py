"""Who may use the service: tokens, sessions, forged requests, and how often a client may ask."""
