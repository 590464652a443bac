"""Which addresses and ports there are, and which of them answer."""
