"""A user's clusters as other processes of that user see them, ask them and end them."""
