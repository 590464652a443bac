"""Options as a user gives them, read once into frozen objects."""
