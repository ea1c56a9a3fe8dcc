"""What stands behind `database.py`: one module for each noun, and one for each kind of database."""
