"""Audiences: who an email is for, read in windows, and recipients who leave while it is being sent."""
