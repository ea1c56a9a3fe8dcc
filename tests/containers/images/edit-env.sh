#!/bin/sh
# What a person does who edits .env.
printf '%s\n' DATA_DIR=/var/lib/email-endpoint TIMEZONE=UTC >>"$1"
