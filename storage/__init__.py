"""The implementation of `database.py`: one module for each noun, and one package for each engine."""
