"""Real servers for tests: SMTP, DNS, PostgreSQL, Redis, cron, the web server; and how to talk to them."""
