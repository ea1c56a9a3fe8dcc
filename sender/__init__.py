"""The parts of a sweep that stand behind `task.py`."""
