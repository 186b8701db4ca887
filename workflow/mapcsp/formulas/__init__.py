"""Intake: turns a formula list into checked entries, and says of each row that is left out why."""
